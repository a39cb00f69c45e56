"""What Linux shows of a TD below /sys, mounted where a test wants it; its quotes are a forged
Intel's.

``kernel/config/tsm/report``: entries with generations (Documentation/ABI/testing/configfs-tsm).
``devices/virtual/misc/tdx_guest/measurements``: a read is the register, a write of 48 bytes extends
it, RTMR0 and RTMR1 can only be read (sysfs-devices-virtual-misc-tdx_guest, Linux 6.16).
``firmware/acpi/tables/data/CCEL``: the firmware's log in a table that it doesn't fill.

Run as a module it is the process that serves the mount.
"""

from __future__ import annotations

import errno
import hashlib
import sys
from pathlib import Path
from typing import Any

from support import logs
from support.fuse import Mount, Names, serve

BOOT = (
    logs.event(1, logs.IPL, b"firmware"),
    logs.event(2, logs.IPL, b"kernel"),
    logs.event(3, logs.IPL, b"command line"),
)
REPORT = ("kernel", "config", "tsm", "report")
REGISTERS = ("devices", "virtual", "misc", "tdx_guest", "measurements")
CCEL = ("firmware", "acpi", "tables", "data", "CCEL")


class FakeKernel:
    """The mounted tree, as a test sees it.

    Settings of :meth:`set`: ``provider``; ``failures``: errno values that the next reads of
    ``outblob`` give, one each; ``rivals``: hex that others write to an entry before it is read, one
    each; ``nonsense``: reports are no quotes; ``refusals``: for each of the next writes to RTMR3,
    an errno, or its negative where the register is extended all the same; ``sysfs``: whether there
    are ``measurements``.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder
        folder.mkdir(exist_ok=True)
        self._mount = Mount(folder, "support.fake_kernel")

    def __enter__(self) -> FakeKernel:
        self._mount.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._mount.__exit__(*error)

    @property
    def report(self) -> Path:
        return self.root.joinpath(*REPORT)

    @property
    def rtmr3(self) -> Path:
        return self.root.joinpath(*REGISTERS, "rtmr3:sha384")

    @property
    def ccel(self) -> Path:
        return self.root.joinpath(*CCEL)

    def set(self, **settings: Any) -> None:
        self._mount.tell(set=settings)

    def extend(self, data: bytes) -> None:
        """Somebody else extends RTMR3 by the SHA-384 of ``data``."""
        self._mount.tell(extend=hashlib.sha384(data).hexdigest())

    def restart(self) -> None:
        """The TD starts anew, with the settings and counts of the beginning."""
        self._mount.tell(restart=True)

    def seen(self) -> dict[str, Any]:
        """``entries`` there are, all that were ``made``, what was ``asked`` (hex), each digest that
        RTMR3 was ``extended`` by, and the ``rtmrs``."""
        found: dict[str, Any] = self._mount.tell(seen=True)
        return found


class _Kernel:
    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.settings: dict[str, Any] = {
            "provider": "tdx_guest",
            "failures": [],
            "rivals": [],
            "nonsense": False,
            "refusals": [],
            "sysfs": True,
        }
        self.entries: dict[str, dict[str, Any]] = {}
        self.made: list[str] = []
        self.asked: list[str] = []
        self.rtmrs = list(logs.rtmrs(BOOT))
        self.extended: list[str] = []

    def told(self, command: dict[str, Any]) -> Any:
        if "set" in command:
            self.settings.update(command["set"])
        if "extend" in command:
            self.extend(bytes.fromhex(command["extend"]))
        if "restart" in command:
            self.start()
        return {
            "entries": sorted(self.entries),
            "made": self.made,
            "asked": self.asked,
            "extended": self.extended,
            "rtmrs": [register.hex() for register in self.rtmrs],
        }

    def extend(self, digest: bytes) -> None:
        self.rtmrs[3] = hashlib.sha384(self.rtmrs[3] + digest).digest()
        self.extended.append(digest.hex())

    def mode(self, path: Names) -> int:
        if any(path == whole[: len(path)] for whole in (REPORT, self.registers(), CCEL[:-1])):
            return 0o40755
        parent, name = path[:-1], path[-1]
        files = {
            CCEL[:-1]: {"CCEL": 0o400},
            self.registers(): {
                f"rtmr{index}:sha384": 0o444 if index < 2 else 0o644 for index in range(4)
            },
        }.get(parent, {})
        if name in files:
            return 0o100000 | files[name]
        if parent == REPORT and name in self.entries:
            return 0o40755
        attributes = {"provider": 0o400, "generation": 0o400, "inblob": 0o200, "outblob": 0o400}
        if parent[:-1] == REPORT and parent[-1] in self.entries and name in attributes:
            return 0o100000 | attributes[name]
        raise OSError(errno.ENOENT, name)

    def registers(self) -> Names:
        return REGISTERS if self.settings["sysfs"] else ()

    def mkdir(self, path: Names) -> None:
        if path[:-1] != REPORT:
            raise OSError(errno.EPERM, "mkdir")
        if path[-1] in self.entries:
            raise OSError(errno.EEXIST, "mkdir")
        self.entries[path[-1]] = {"inblob": b"", "generation": 0}
        self.made.append(path[-1])

    def rmdir(self, path: Names) -> None:
        if path[:-1] != REPORT or self.entries.pop(path[-1], None) is None:
            raise OSError(errno.ENOENT, "rmdir")

    def read(self, path: Names) -> bytes:
        if path == CCEL:
            return logs.ccel(BOOT, end=b"\xff" * 4096)
        if path[:-1] == REGISTERS:
            return self.rtmrs[int(path[-1][4])]
        entry, name = self.entries[path[-2]], path[-1]
        if name == "provider":
            return f"{self.settings['provider']}\n".encode()
        if name == "generation":
            return f"{entry['generation']}\n".encode()
        if name == "outblob":
            return self.quote(entry)
        raise OSError(errno.EACCES, "read")

    def write(self, path: Names, data: bytes) -> None:
        if path[:-1] == REGISTERS:
            self.write_register(path[-1], data)
        elif path[-1] == "inblob":
            self.write_inblob(self.entries[path[-2]], data)
        else:
            raise OSError(errno.EACCES, "write")

    def write_register(self, name: str, data: bytes) -> None:
        if name != "rtmr3:sha384":
            raise OSError(errno.EACCES, "write")
        if len(data) != 48:
            raise OSError(errno.EINVAL, "write")
        refusal = self.settings["refusals"].pop(0) if self.settings["refusals"] else 0
        if refusal <= 0:
            self.extend(data)
        if refusal:
            raise OSError(abs(refusal), "write")

    def write_inblob(self, entry: dict[str, Any], data: bytes) -> None:
        if not 0 < len(data) <= 64:
            raise OSError(errno.EINVAL, "inblob")
        entry["inblob"] = data
        entry["generation"] += 1
        self.asked.append(data.hex())

    def quote(self, entry: dict[str, Any]) -> bytes:
        from support.hardware import intel

        if self.settings["failures"]:
            raise OSError(self.settings["failures"].pop(0), "outblob")
        if self.settings["rivals"]:
            self.write_inblob(entry, bytes.fromhex(self.settings["rivals"].pop(0)))
        data = entry["inblob"]
        if len(data) != 64:
            raise OSError(errno.EINVAL, "outblob")
        if self.settings["nonsense"]:
            return data * 100
        return intel().quote(report_data=data, rtmrs=tuple(self.rtmrs)) + bytes(3000)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), _Kernel())
