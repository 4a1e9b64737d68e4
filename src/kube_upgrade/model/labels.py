"""Label selectors with the meaning of metav1.LabelSelector."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

CONTROL_PLANE_LABEL = "node-role.kubernetes.io/control-plane"
ZONE_LABEL = "topology.kubernetes.io/zone"


class Operator(StrEnum):
    """metav1.LabelSelectorOperator."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One line of a selector. `values` is empty for Exists and DoesNotExist."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """True where the labels satisfy this line; NotIn also holds for an absent key."""
        if self.operator in (Operator.EXISTS, Operator.DOES_NOT_EXIST):
            return (self.key in labels) is (self.operator is Operator.EXISTS)
        return (labels.get(self.key) in self.values) is (self.operator is Operator.IN)


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements must hold. A selector without requirements matches nothing here."""

    requirements: tuple[Requirement, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        """True where every requirement holds and there is at least one."""
        for need in self.requirements:
            if not need.matches(labels):
                return False
        return bool(self.requirements)
