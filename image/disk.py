#!/usr/bin/python3
"""What the build does to disk images, without loop devices and without root.

  disk.py fill RAW LABEL=FILE...          writes files into the partitions of these names
  disk.py bios-install RAW BOOT CORE      GRUB's boot.img into the first sector, core.img into the BIOS boot partition
  disk.py bios-entry UKI VERSION          prints GRUB's commands that start a unified kernel image's kernel
  disk.py grub-environment VERSION        prints GRUB's environment block
  disk.py spdx VERSION EPOCH DEBIAN CRATES  prints the list of packages as SPDX 2.3
  disk.py cpio                            names on stdin, an archive (newc) on stdout: owner root, no time stamps
"""

import datetime
import json
import os
import stat
import struct
import sys
import uuid

SECTOR = 512
BIOS_BOOT = uuid.UUID("21686148-6449-6e6f-744e-656564454649")
CHUNK = 1 << 20


def partitions(image):
    """(type, label, first byte, bytes) of each partition (UEFI 2.10 §5.3.3)."""
    image.seek(SECTOR)
    header = image.read(92)
    assert header[:8] == b"EFI PART", "no GPT"
    first, count, size = struct.unpack_from("<QII", header, 72)
    for number in range(count):
        image.seek(first * SECTOR + number * size)
        entry = image.read(size)
        kind = uuid.UUID(bytes_le=entry[:16])
        if kind.int == 0:
            continue
        begin, end = struct.unpack_from("<QQ", entry, 32)
        label = entry[56:128].decode("utf-16le").rstrip("\0")
        yield kind, label, begin * SECTOR, (end - begin + 1) * SECTOR


def fill(raw, *pairs):
    with open(raw, "r+b") as image:
        places = {label: (begin, size) for _, label, begin, size in partitions(image)}
        for pair in pairs:
            label, path = pair.split("=", 1)
            begin, room = places[label]
            assert os.path.getsize(path) <= room, f"{path} does not fit {label}"
            with open(path, "rb") as source:
                while chunk := source.read(CHUNK):
                    # What is empty stays a hole.
                    if chunk.count(0) != len(chunk):
                        image.seek(begin)
                        image.write(chunk)
                    begin += len(chunk)


def bios_install(raw, boot, core):
    """What grub-bios-setup does to a disk, done to a file."""
    with open(raw, "r+b") as image, open(boot, "rb") as b, open(core, "rb") as c:
        begin, room = next((p[2], p[3]) for p in partitions(image) if p[0] == BIOS_BOOT)
        sector = begin // SECTOR
        core_image = bytearray(c.read())
        core_image += bytes(-len(core_image) % SECTOR)
        assert len(core_image) <= room, "core.img does not fit the BIOS boot partition"
        # The first sector of core.img loads the rest: its block list ends at 0x200, 12 bytes an entry.
        struct.pack_into("<QH", core_image, 0x1F4, sector + 1, len(core_image) // SECTOR - 1)
        image.seek(begin)
        image.write(core_image)
        boot_image = bytearray(b.read(SECTOR))
        struct.pack_into("<Q", boot_image, 0x5C, sector)
        # The jump over the check of the drive number: BIOSes that pass a wrong one are met more often.
        boot_image[0x66:0x68] = b"\x90\x90"
        image.seek(0)
        first = bytearray(image.read(SECTOR))
        first[:0x1B8] = boot_image[:0x1B8]
        image.seek(0)
        image.write(first)


def bios_entry(uki, version):
    """GRUB reads kernel and initrd out of the file that UEFI boots: PE sections lie on 512-byte boundaries."""
    with open(uki, "rb") as file:
        data = file.read()
    header = struct.unpack_from("<I", data, 0x3C)[0]
    count = struct.unpack_from("<H", data, header + 6)[0]
    optional = struct.unpack_from("<H", data, header + 20)[0]
    sections = {}
    for number in range(count):
        at = header + 24 + optional + 40 * number
        used, _, size, begin = struct.unpack_from("<IIII", data, at + 8)
        assert begin % SECTOR == 0 and size % SECTOR == 0
        sections[data[at : at + 8].rstrip(b"\0").decode()] = (begin, size, used)

    def blocks(name):
        begin, size, _ = sections[name]
        return f"(uki){begin // SECTOR}+{size // SECTOR}"

    begin, _, used = sections[".cmdline"]
    cmdline = data[begin : begin + used].rstrip(b"\0").decode()
    # An update that is on trial has its tries in its name.
    print(
        f"""for f in ($root)/EFI/Linux/rempart_{version}.efi ($root)/EFI/Linux/rempart_{version}+*.efi; do
  if [ -f "$f" ]; then loopback uki "$f"; fi
done
linux {blocks('.linux')} {cmdline}
initrd {blocks('.initrd')}"""
    )


def grub_environment(version):
    text = f"# GRUB Environment Block\ngood={version}\n"
    sys.stdout.write(text + "#" * (1024 - len(text)))


def spdx(version, epoch, debian, crates):
    name = f"rempart-{version}"
    created = datetime.datetime.fromtimestamp(int(epoch), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = []
    with open(debian, encoding="utf-8") as lines:
        for line in lines:
            package, number, source, _ = line.rstrip("\n").split("\t")
            found.append((package, number, f"Debian source package {source}", "NOASSERTION", f"pkg:deb/debian/{package}@{number}"))
    with open(crates, encoding="utf-8") as lines:
        for line in lines:
            described, _, licence = line.rstrip("\n").partition("\t")
            package, number = described.split()[:2]
            number = number.removeprefix("v")
            found.append((package, number, "Rust crate", licence or "NOASSERTION", f"pkg:cargo/{package}@{number}"))
    packages = [
        {
            "SPDXID": f"SPDXRef-{n}",
            "name": package,
            "versionInfo": number,
            "comment": origin,
            "downloadLocation": "NOASSERTION",
            "licenseDeclared": licence.replace("/", " OR "),
            "externalRefs": [
                {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": url}
            ],
        }
        for n, (package, number, origin, licence, url) in enumerate(found)
    ]
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name + created)}",
        "creationInfo": {"created": created, "creators": ["Tool: rempart-image"]},
        "packages": packages,
    }
    json.dump(document, sys.stdout, indent=1)
    print()


def cpio():
    out = sys.stdout.buffer
    serial = 0

    def entry(name, mode, data=b"", links=1):
        nonlocal serial
        serial += 1
        path = name.encode() + b"\0"
        fields = (serial, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(path), 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + path
        out.write(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))

    for line in sys.stdin:
        path = line.rstrip("\n")
        found = os.lstat(path)
        name = path.removeprefix("./")
        if stat.S_ISLNK(found.st_mode):
            entry(name, found.st_mode, os.readlink(path).encode())
        elif stat.S_ISDIR(found.st_mode):
            entry(name, found.st_mode, links=2)
        elif stat.S_ISREG(found.st_mode):
            with open(path, "rb") as file:
                entry(name, found.st_mode, file.read())
    entry("TRAILER!!!", 0)


COMMANDS = {
    "fill": fill,
    "bios-install": bios_install,
    "bios-entry": bios_entry,
    "grub-environment": grub_environment,
    "spdx": spdx,
    "cpio": cpio,
}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    COMMANDS[sys.argv[1]](*sys.argv[2:])
