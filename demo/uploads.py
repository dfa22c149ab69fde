"""Steps with the unmodified PROMINENCE client: uploads with and without a checksum, a list, a lie; what is on disk."""

import hashlib
import os
import urllib.request
from typing import Final

from demo.image import make_image
from demo.stage import Stage, fetch, need, rate, shown

AREA: Final = "uploads/demo"
NAME: Final = "demo.sif"
SECOND: Final = "second name.sif"
LIE: Final = "lie.sif"

# The client leaves the checksum out for files of 2 GiB and more. So that nobody waits for 2 GiB, its own function that
# hashes says here that it could not.
WITHOUT_CHECKSUM: Final = """
import sys
import prominence.client
prominence.client.calculate_sha256 = lambda filename: None
client = prominence.client.ProminenceClient(authenticated=True)
print(client.upload(sys.argv[1], sys.argv[2], checksum=None))
"""


def make_the_image(stage: Stage) -> str:
    """A SIF file of our own making."""
    stage.image = make_image(stage.work / NAME, stage.folder / "tmp", stage.mib)
    where = f"squashfs at byte {stage.image.squashfs_at}, read back by unsquashfs"
    return f"a SIF of {shown(stage.image.size)}, {where}"


def start_the_server(stage: Stage) -> str:
    """An empty folder becomes a server."""
    seconds = stage.server.start()
    return f"ready at {stage.server.url} {seconds:.1f} s after `entrepot serve` in an empty folder"


def make_the_user(stage: Stage) -> str:
    """A user, a role and a token by the command line."""
    admin = {"ENTREPOT_TOKEN": stage.admin_token}
    stage.succeed("entrepot", "admin", "user", "add", "demo", "--no-password", **admin)
    stage.succeed("entrepot", "admin", "role", "add", "demo", "default", "writer", **admin)
    made = stage.succeed("entrepot", "admin", "token", "add", "demo", "--expires", "1d", **admin)
    stage.token = made.out.strip()
    need(stage.token.count(".") == 2, f"this is no token: {made.out[:40]!r}")
    return "user demo, writer in project default, with a token for a day"


def upload(stage: Stage) -> str:
    """`prominence upload`, which hashes the file and sends a form."""
    done = stage.succeed("prominence", "upload", "--filename", NAME, "--name", NAME)
    need("Success" in done.out, f"the client said {done.out!r}")
    answer = stage.ask("/prominence/v1/data/download", {"name": NAME})
    need(answer["sha256"] == stage.image.sha256, "the server has another sha256")
    stage.link = answer["url"]
    return f"{shown(stage.image.size)} as a form, {rate(stage.image.size, done.seconds)} with the client's own hashing"


def upload_without_checksum(stage: Stage) -> str:
    """The same client, its branch for files it does not hash: a PUT."""
    done = stage.succeed("python", "-c", WITHOUT_CHECKSUM, SECOND, NAME)
    need("True" in done.out, f"the client said {done.out!r}")
    link = stage.ask("/prominence/v1/data/download", {"name": SECOND})["url"]
    with fetch(urllib.request.Request(link, method="HEAD"), timeout=30) as answer:
        found = answer.headers["x-amz-meta-prominence_sha256"]
    need(found == stage.image.sha256, f"HEAD shows {found} as the sha256")
    return f"as a PUT, as above 2 GiB: {rate(stage.image.size, done.seconds)}; the server's own sha256 is the file's"


def list_names(stage: Stage) -> str:
    """`prominence ls -l`."""
    done = stage.succeed("prominence", "ls", "-l")
    for name in (NAME, SECOND):
        rows = [line for line in done.out.splitlines() if name in line]
        need(len(rows) == 1 and str(stage.image.size) in rows[0], f"{name} is not listed as it should be: {done.out!r}")
    return f"2 names, {shown(2 * stage.image.size)} by their sizes"


def count_bytes_on_disk(stage: Stage) -> str:
    """Two names, one file."""
    files = stage.server.stored()
    ours = [name for name in files if name.startswith(stage.image.sha256)]
    need(len(files) == len(ours) == 1, f"{len(files)} files are stored, {len(ours)} of this image")
    on_disk = sum(files.values())
    need(on_disk < stage.image.size * 1.02, f"{on_disk} bytes on disk")
    return f"1 file of {shown(on_disk)} on the server's disk for both names"


def refuse_a_lie(stage: Stage) -> str:
    """An upload whose checksum is not that of its bytes."""
    (stage.work / LIE).write_bytes(os.urandom(8 << 20))
    before = stage.server.stored()
    false = hashlib.sha256(b"other bytes").hexdigest()
    done = stage.run("prominence", "upload", "--filename", LIE, "--name", LIE, "--checksum", false)
    need(done.code == 1 and "400" in done.out, f"exit {done.code}, the client said {done.last_words!r}")
    need(LIE not in stage.succeed("prominence", "ls").out, "the name exists")
    need(stage.server.stored() == before, "bytes of it are stored")
    need(not stage.server.staged(), f"left in staging: {stage.server.staged()}")
    return "refused with 400, the client exits 1; no name, no blob and no staging file is left"
