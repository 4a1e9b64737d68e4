"""Pages of a list and lines of a watch. Objects stay raw here: their reader decodes each once, into its own struct."""

import msgspec

from kube_upgrade.kube.wire.meta import ObjectMeta


class PageMeta(msgspec.Struct, rename="camel", frozen=True):
    """metav1.ListMeta: `continue_` names the next page, empty on the last one."""

    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class Page(msgspec.Struct, frozen=True):
    """One answer to a list request."""

    metadata: PageMeta
    items: list[msgspec.Raw] = []


class WatchEvent(msgspec.Struct, frozen=True):
    """metav1.WatchEvent: ADDED, MODIFIED, DELETED, BOOKMARK (only a resourceVersion) or ERROR (a Status)."""

    type: str
    object: msgspec.Raw


class Identified(msgspec.Struct, frozen=True):
    """Any object, reduced to its metadata."""

    metadata: ObjectMeta
