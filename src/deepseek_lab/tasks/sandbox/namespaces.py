"""A process with a world of its own: user, processes, network, files (Linux namespaces), for root and others alike.

What it can see of the files are the folders with Python's own library, read-only, under an empty root in memory.
No /proc, no /dev, no home, no network but a loopback that is down. Raises OSError where the machine refuses.
"""

import ctypes
import os
import platform
import sys
import sysconfig
from pathlib import Path

_FILES, _USERS, _PROCESSES, _NETWORK = 0x00020000, 0x10000000, 0x20000000, 0x40000000  # CLONE_NEW* of linux/sched.h
_MESSAGES, _HOST_NAME = 0x08000000, 0x04000000
_PRIVATE, _RECURSIVE, _BIND, _DETACH = 1 << 18, 1 << 14, 1 << 12, 2  # MS_* and MNT_DETACH of linux/mount.h
_READ_ONLY, _NO_SET_UID, _NO_DEVICES = 1, 2, 4  # both MS_* and MOUNT_ATTR_*
_MOUNT_SET_ATTRIBUTES = 442
_CURRENT_FOLDER, _WHOLE_TREE = -100, 0x8000
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_DIE_WITH_PARENT, _DROP_FROM_BOUNDING_SET = 1, 24
_CAPABILITIES_V3 = 0x20080522
_NEW_ROOT = "/tmp"  # an empty file system is mounted over it, unseen by anyone outside
_INSIDE_ID = 65534

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(what: str, result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def leave_the_machine() -> None:
    """New namespaces for this process; its next child is the first process of its own."""
    if platform.system() != "Linux":
        raise OSError(f"{platform.system()} has no namespaces")
    user, group = os.getuid(), os.getgid()
    _checked("unshare", _libc.unshare(_FILES | _USERS | _PROCESSES | _NETWORK | _MESSAGES | _HOST_NAME))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{_INSIDE_ID} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{_INSIDE_ID} {group} 1")


def library_folders() -> list[Path]:
    """What Python reads while it runs: its standard library, and the shared libraries that belong to it."""
    paths = sysconfig.get_paths(vars={"base": sys.base_prefix, "platbase": sys.base_prefix})
    system = (Path(f"/{name}") for name in ("lib", "lib64", "usr/lib", "usr/lib64"))
    own = (Path(paths["stdlib"]), Path(paths["platstdlib"]), Path(sys.base_prefix) / "lib")
    return [path for path in dict.fromkeys((*system, *own)) if path.is_dir()]


def see_only(folders: list[Path]) -> None:
    """Makes an empty file system the root, with `folders` in their places, none of it writable."""
    _mount(None, "/", None, _PRIVATE | _RECURSIVE)
    sources = [(os.open(folder, os.O_PATH | os.O_DIRECTORY), folder) for folder in folders]
    _mount("none", _NEW_ROOT, "tmpfs", _NO_SET_UID | _NO_DEVICES)
    for descriptor, folder in sources:
        place = Path(f"{_NEW_ROOT}{folder}")
        place.mkdir(parents=True, exist_ok=True)
        _mount(f"/proc/self/fd/{descriptor}", str(place), None, _BIND | _RECURSIVE)
        os.close(descriptor)
    _forbid_writing(_NEW_ROOT)
    os.chdir(_NEW_ROOT)
    _checked("pivot_root", _libc.syscall(_PIVOT_ROOT[platform.machine()], b".", b"."))
    _checked("umount", _libc.umount2(b".", _DETACH))
    os.chdir("/")


def _mount(source: str | None, place: str, kind: str | None, flags: int) -> None:
    words = (None if word is None else word.encode() for word in (source, place, kind))
    _checked(f"mount {place}", _libc.mount(*words, ctypes.c_ulong(flags), None))


def _forbid_writing(root: str) -> None:
    """For everything mounted at or under `root` (mount_setattr, Linux 5.12)."""
    attributes = (ctypes.c_uint64 * 4)(_READ_ONLY | _NO_SET_UID | _NO_DEVICES, 0, 0, 0)
    arguments = (_CURRENT_FOLDER, root.encode(), _WHOLE_TREE, ctypes.byref(attributes), ctypes.sizeof(attributes))
    _checked("mount_setattr", _libc.syscall(_MOUNT_SET_ATTRIBUTES, *arguments))


def die_with_parent() -> None:
    """Has the kernel kill this process when the one that started it ends."""
    _checked("prctl", _libc.prctl(_DIE_WITH_PARENT, 9, 0, 0, 0))


def drop_capabilities() -> None:
    """Gives up what rights the new user namespace gave, for good."""
    for capability in range(64):
        if _libc.prctl(_DROP_FROM_BOUNDING_SET, capability, 0, 0, 0) != 0:
            break  # no more of them
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0)
    none = (ctypes.c_uint32 * 6)()
    _checked("capset", _libc.capset(ctypes.byref(header), ctypes.byref(none)))
