"""What makes a web server hand out a tree with the right types: nginx, Apache, and hosts that read `_headers`. Pure.

Clients refuse a manifest of a wrong type, and extensions tell nothing here: every type is said by path.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from entrepot.errors import UsageError

OCTETS: Final = "application/octet-stream"
JSON: Final = "application/json"
HTML: Final = "text/html"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
_PATTERNS: Final = (
    (r"^/v2/.+/tags/list$", JSON),
    (r"^/v2/.+/referrers/", INDEX),
    (r"^/registry/files/", OCTETS),
    (r"^/registry/.+/(tags|manifests/[^/]+)/index\.html$", JSON),
    (r"^/registry/.+/Singularity$", "text/plain"),
    (r"/index\.html$", HTML),
)
"""Read by nginx and by us; the first that fits decides, and a whole path before any."""
_SLOT_BYTES: Final = 32
"""What nginx's hash keeps beside a name."""
_SMALLEST_BUCKET: Final = 256
_SMALLEST_HASH: Final = 2048
_NO_ROOT: Final = re.compile(r"[$\x00-\x1f\x7f]")

_V2_HTACCESS: Final = """\
DirectoryIndex index.html
ForceType application/octet-stream
<FilesMatch ".">
SetHandler default-handler
</FilesMatch>
<IfModule mod_mime.c>
RemoveEncoding .gz .tgz .Z .bz2 .xz .svgz
</IfModule>
<Files "list">
ForceType application/json
</Files>
<Files "index.html">
ForceType application/json
</Files>
"""
_REGISTRY_HTACCESS: Final = """\
DirectoryIndex index.html
ForceType application/octet-stream
<FilesMatch ".">
SetHandler default-handler
</FilesMatch>
<IfModule mod_mime.c>
RemoveEncoding .gz .tgz .Z .bz2 .xz .svgz
</IfModule>
<Files "index.html">
ForceType text/html
</Files>
<Files "Singularity">
ForceType text/plain
</Files>
"""
_JSON_HTACCESS: Final = """\
<Files "index.html">
ForceType application/json
</Files>
"""
_SPECIAL: Final = ("list", "index.html")
"""Tags whose names have a rule further up, which would win."""


@dataclass(frozen=True, slots=True)
class Served:
    """A file: its path below the root, its type, and for a tag the digest it stands for."""

    path: str
    media_type: str
    digest: str | None = None


def nginx_conf(files: Iterable[Served], base_url: str, root: str) -> str:
    """A `map` and a `server` block for inside `http { }`. `root`: the tree's folder. Raises: UsageError, for a bad one.

    Source: ngx_http_map_module. A variable in `default_type` is sent as it is written, so the type is a header.
    """
    exact = {f"/{file.path}": file.media_type for file in files if file.media_type != _by_pattern(f"/{file.path}")}
    longest = max((len(path) for path in exact), default=0)
    return _NGINX.format(
        bucket=_power_of_two(max(_SMALLEST_BUCKET, longest + _SLOT_BYTES)),
        hash=_power_of_two(max(_SMALLEST_HASH, 2 * len(exact))),
        patterns="\n".join(f"    ~{pattern} {kind};" for pattern, kind in _PATTERNS),
        exact="\n".join(f"    {path} {kind};" for path, kind in sorted(exact.items())),
        listen=_listen(base_url),
        name=_host(base_url),
        root=_quoted(root),
        below=_below(base_url),
    )


_NGINX: Final = """\
# Written by `entrepot export-static`, again at each run. Inside http {{ }}: include THIS_FILE;
map_hash_bucket_size {bucket};
map_hash_max_size {hash};
map $uri $entrepot_type {{
    default application/octet-stream;
{patterns}
{exact}
}}
server {{
    {listen}
    server_name {name};
    root {root};
{below}    location ~ ^/(nginx\\.conf|_headers)$ {{ return 404; }}
    location ~ /\\.ht {{ return 404; }}
    location / {{
        types {{ }}
        default_type "";
        try_files $uri ${{uri}}index.html $uri/index.html =404;
        add_header Content-Type $entrepot_type always;
    }}
}}
"""


def _by_pattern(path: str) -> str:
    return next((kind for pattern, kind in _PATTERNS if re.search(pattern, path)), OCTETS)


def _listen(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme == "https":
        return "listen 80;  # TLS ends in front of it"
    return f"listen {parts.port or 80};"


def _host(base_url: str) -> str:
    name = urlsplit(base_url).hostname or ""
    return f"[{name}]" if ":" in name else name


def _below(base_url: str) -> str:
    path = urlsplit(base_url).path.rstrip("/")
    return f"    location ^~ {path}/ {{ rewrite ^{re.escape(path)}(/.*)$ $1 last; }}\n" if path else ""


def _quoted(root: str) -> str:
    if _NO_ROOT.search(root):
        raise UsageError("this folder's name cannot be written into nginx.conf", advice="give one without $")
    escaped = root.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()


def htaccess_files(files: Sequence[Served]) -> Mapping[str, str]:
    """The `.htaccess` files by path, for `AllowOverride All`. No handler runs anything, whatever a name ends in."""
    found = {"v2/.htaccess": _V2_HTACCESS, "registry/.htaccess": _REGISTRY_HTACCESS}
    manifests: dict[str, list[Served]] = {}
    for file in files:
        folder, _, name = file.path.rpartition("/")
        if folder.startswith("v2/") and folder.endswith("/manifests"):
            manifests.setdefault(folder, []).append(file)
        elif folder.endswith("/referrers"):
            found[f"{folder}/.htaccess"] = f"ForceType {INDEX}\n"
        elif folder.startswith("registry/") and name == "index.html" and file.media_type == JSON:
            found[f"{_json_folder(folder)}/.htaccess"] = _JSON_HTACCESS
    return found | {f"{folder}/.htaccess": _of_manifests(there) for folder, there in manifests.items()}


def _json_folder(folder: str) -> str:
    """Where the rule for `registry/NAME/tags` or `registry/NAME/manifests/TAG` goes."""
    above, _, last = folder.rpartition("/")
    return folder if last == "tags" and not above.endswith("/manifests") else above


def _of_manifests(files: Sequence[Served]) -> str:
    commonest = Counter(file.media_type for file in files).most_common(1)[0][0]
    lines = [f"ForceType {commonest}"]
    for file in sorted(files, key=lambda file: file.path):
        name = file.path.rpartition("/")[2]
        rules = [f"ForceType {file.media_type}"] if file.media_type != commonest or name in _SPECIAL else []
        if file.digest is not None:
            rules += [
                "<IfModule mod_headers.c>",
                f'Header set Docker-Content-Digest "{file.digest}"',
                "</IfModule>",
            ]
        if rules:
            lines += [f'<Files "{name}">', *rules, "</Files>"]
    return "\n".join(lines) + "\n"


def headers_file(files: Iterable[Served]) -> str:
    """`_headers`, as Netlify and Cloudflare Pages read it: a path, then its headers, indented."""
    lines = [_rule("/registry/files/*", OCTETS)]
    for file in sorted(files, key=lambda file: file.path):
        if file.media_type == OCTETS:
            continue
        lines.append(_rule(f"/{file.path}", file.media_type))
        if file.path.endswith("/index.html"):
            lines.append(_rule(f"/{file.path.removesuffix('index.html')}", file.media_type))
    return "".join(lines)


def _rule(path: str, kind: str) -> str:
    return f"{path}\n  Content-Type: {kind}\n"
