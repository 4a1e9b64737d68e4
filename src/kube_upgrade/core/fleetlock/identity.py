"""Who a machine is to a FleetLock server: an id derived from its machine-id, as systemd and Zincati derive it."""

import hashlib
import hmac
import re

ZINCATI_APP_ID = bytes.fromhex("de35106b6ec24688b63afddaa156679b")
_MACHINE_ID = re.compile(r"[0-9a-f]{32}")


class BadMachineId(ValueError):
    """The text is not a machine-id; the message says what it is instead."""


def plain_machine_id(text: str) -> str:
    """Strip white space and dashes; 32 lower-case hex digits remain. Raises BadMachineId."""
    plain = text.strip().replace("-", "").lower()
    if plain == "uninitialized":
        raise BadMachineId("machine-id: 'uninitialized': the machine has not finished its first boot")
    if not _MACHINE_ID.fullmatch(plain) or not int(plain, 16):
        raise BadMachineId(f"machine-id: {text.strip()!r} is not 32 hex digits")
    return plain


def fleetlock_id(machine_id: str) -> str:
    """sd_id128_get_machine_app_specific() for Zincati's application id: 32 lower-case hex digits. Raises BadMachineId.

    The machine-id is the secret key of an HMAC, so the id may be shown where the machine-id may not.
    """
    key = bytes.fromhex(plain_machine_id(machine_id))
    digest = bytearray(hmac.digest(key, ZINCATI_APP_ID, hashlib.sha256)[:16])
    digest[6] = digest[6] & 0x0F | 0x40  # UUID version 4
    digest[8] = digest[8] & 0x3F | 0x80  # variant DCE
    return digest.hex()
