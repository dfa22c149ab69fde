"""What web servers are told of a tree: rules from paths and types, and nothing a server could smuggle into them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.client.layout import Descriptor, layout_index
from entrepot.client.static_bucket import keys_of
from entrepot.client.static_plan import Plan, PlanFile, Tree, check_file, checked_base_url
from entrepot.client.static_rules import HTML, INDEX, JSON, OCTETS, Served, headers_file, htaccess_files, nginx_conf
from entrepot.client.static_tree import rule_files
from entrepot.errors import EntrepotError, Refused, UsageError

IMAGE = "application/vnd.oci.image.manifest.v1+json"
NAME = "vanessa/greeting"
DIGEST = f"sha256:{'a' * 64}"
FILES = (
    Served(f"v2/{NAME}/blobs/{DIGEST}", OCTETS),
    Served(f"v2/{NAME}/manifests/{DIGEST}", IMAGE),
    Served(f"v2/{NAME}/manifests/latest", IMAGE, DIGEST),
    Served(f"v2/{NAME}/manifests/all", INDEX, DIGEST),
    Served(f"v2/{NAME}/manifests/list", IMAGE, DIGEST),
    Served(f"v2/{NAME}/manifests/index.html", IMAGE, DIGEST),
    Served(f"v2/{NAME}/tags/list", JSON),
    Served(f"v2/{NAME}/referrers/{DIGEST}", INDEX),
    Served(f"registry/{NAME}/index.html", HTML),
    Served(f"registry/{NAME}/tags/index.html", JSON),
    Served(f"registry/{NAME}/manifests/tags/index.html", JSON),
    Served(f"registry/{NAME}/manifests/latest/Singularity", "text/plain"),
    Served(f"registry/files/{NAME}/{'a' * 64}/{'a' * 64}.html", OCTETS),
    Served("v2/index.html", JSON),
    Served("registry/index.html", HTML),
)


def map_of(conf: str) -> list[tuple[str, str]]:
    """The lines of nginx's map."""
    inside = conf.partition("map $uri $entrepot_type {\n")[2].partition("\n}")[0]
    return [(key, value) for key, value in re.findall(r"^    (\S+) (\S+);$", inside, re.MULTILINE)]


def nginx_type(conf: str, path: str) -> str:
    """What nginx would say: a whole path, else the first pattern, else the default."""
    lines = map_of(conf)
    for key, value in lines:
        if key == path:
            return value
    return next((value for key, value in lines if key[0] == "~" and re.search(key[1:], path)), dict(lines)["default"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.path)
def test_nginx_has_the_type_of_each_file(file: Served) -> None:
    assert nginx_type(nginx_conf(FILES, "http://mirror.example", "/srv/tree"), f"/{file.path}") == file.media_type


def test_nginx_has_one_line_for_each_manifest_and_none_that_a_pattern_says() -> None:
    lines = [key for key, _ in map_of(nginx_conf(FILES, "http://mirror.example", "/srv/tree")) if key[0] == "/"]
    assert lines == sorted(
        ["/v2/index.html"] + [f"/{file.path}" for file in FILES if f"v2/{NAME}/manifests/" in file.path]
    )


@pytest.mark.parametrize(
    ("base_url", "lines"),
    [
        ("http://mirror.example", ("listen 80;", "server_name mirror.example;")),
        ("http://mirror.example:8081", ("listen 8081;", "server_name mirror.example;")),
        ("https://mirror.example:8443", ("listen 80;", "server_name mirror.example;")),
        ("http://[::1]:81", ("listen 81;", "server_name [::1];")),
        ("http://h/a.b", ("location ^~ /a.b/ { rewrite ^/a\\.b(/.*)$ $1 last; }",)),
    ],
)
def test_nginx_listens_where_the_tree_is_said_to_be(base_url: str, lines: tuple[str, ...]) -> None:
    conf = nginx_conf(FILES, base_url, "/srv/tree")
    assert [line for line in lines if line not in conf] == []


def test_the_hash_of_nginx_has_room_for_long_names_and_many() -> None:
    long = [Served(f"v2/{'a' * 250}/manifests/sha512:{'b' * 128}", IMAGE)]
    many = [Served(f"v2/a/manifests/{number}", IMAGE) for number in range(5000)]
    assert "map_hash_bucket_size 512;" in nginx_conf(long, "http://h", "/srv")
    assert "map_hash_max_size 16384;" in nginx_conf(many, "http://h", "/srv")


def test_a_folder_is_quoted_or_refused() -> None:
    assert 'root "/srv/my \\"tree\\"";' in nginx_conf(FILES, "http://h", '/srv/my "tree"')
    for folder in ("/srv/$uri", "/srv/a\nb"):
        with pytest.raises(UsageError):
            nginx_conf(FILES, "http://h", folder)


def test_apache_has_a_rule_for_what_is_not_the_commonest_type() -> None:
    rules = htaccess_files(FILES)
    assert set(rules) == {
        "v2/.htaccess", "registry/.htaccess", f"v2/{NAME}/manifests/.htaccess", f"v2/{NAME}/referrers/.htaccess",
        f"registry/{NAME}/tags/.htaccess", f"registry/{NAME}/manifests/.htaccess",
    }  # fmt: skip
    manifests = rules[f"v2/{NAME}/manifests/.htaccess"]
    assert manifests.startswith(f"ForceType {IMAGE}\n")
    assert f'<Files "all">\nForceType {INDEX}\n' in manifests
    assert f'<Files "list">\nForceType {IMAGE}\n' in manifests, "v2/.htaccess has a rule for that name"
    assert manifests.count("Docker-Content-Digest") == 4
    assert f'<Files "{DIGEST}">' not in manifests


def test_no_file_is_run_by_a_handler_of_apache() -> None:
    rules = htaccess_files(FILES)
    assert all("SetHandler default-handler" in rules[f"{top}/.htaccess"] for top in ("v2", "registry"))


def test_netlify_is_told_paths_and_types() -> None:
    lines = headers_file(FILES).splitlines()
    pairs = dict(zip(lines[::2], lines[1::2], strict=True))
    assert pairs[f"/v2/{NAME}/manifests/latest"] == f"  Content-Type: {IMAGE}"
    assert pairs["/v2/"] == pairs["/v2/index.html"] == f"  Content-Type: {JSON}"
    assert pairs["/registry/files/*"] == f"  Content-Type: {OCTETS}"


def test_a_bucket_has_keys_where_a_web_server_has_folders() -> None:
    assert keys_of("v2/index.html") == ["v2/index.html", "v2/"]
    assert keys_of(f"registry/{NAME}/tags/index.html")[1:] == [f"registry/{NAME}/tags", f"registry/{NAME}/tags/"]
    assert keys_of(f"registry/{NAME}/manifests/tags/index.html")[1:] == [f"registry/{NAME}/manifests/tags"]
    for path in (f"registry/{NAME}/index.html", f"v2/{NAME}/tags/list", f"v2/{NAME}/manifests/index.html"):
        assert keys_of(path)[0] == path
    assert keys_of(f"registry/{NAME}/index.html") == [f"registry/{NAME}/index.html"]


@pytest.mark.parametrize(
    "path",
    [
        "v2/a/../b", "/v2/a/x", "v2/b/x", "v2/a", "registry/b/x", "v2/a//x", "v2/a/x\ny", 'v2/a/"', "v2/a/x;",
        "v2/a/ x", "v2/a/.htaccess", "v2/a/.htaccess/x", "v2/a/.x", "v2/a/x/", "blobs/sha256/x", "nginx.conf",
        "v2/a/{", "v2/a/$x", "v2/a/./x", "registry/files/../x", "v2/a/ü", "v2\\a\\x", "",
    ],
)  # fmt: skip
def test_a_server_cannot_write_elsewhere_nor_into_the_rules(path: str) -> None:
    with pytest.raises(Refused):
        check_file("a", PlanFile(path, JSON, text=""))


@pytest.mark.parametrize("kind", ["", "text", "text/html; x", "text/h\ntml", 'a/"b"', "a/b;c", "a/$b", "a/{b}"])
def test_a_server_cannot_write_into_the_rules_by_a_type(kind: str) -> None:
    with pytest.raises(Refused):
        check_file("a", PlanFile("v2/a/x", kind, text=""))


def test_a_file_has_a_text_or_a_digest() -> None:
    for file in (
        PlanFile("v2/a/x", JSON),
        PlanFile("v2/a/x", JSON, DIGEST, 1, ""),
        PlanFile("v2/a/x", JSON, DIGEST, -1),
    ):
        with pytest.raises(Refused):
            check_file("a", file)
    with pytest.raises(EntrepotError):
        check_file("a", PlanFile("v2/a/x", JSON, "sha256:../../x"))
    check_file("a", PlanFile("registry/files/github.com/.github/x/y.sif", OCTETS, DIGEST, 1))


@given(st.text(max_size=40))
def test_whatever_a_server_says_stays_in_its_place(text: str) -> None:
    try:
        check_file("a", PlanFile(f"v2/a/{text}", JSON, text=""))
    except Refused:
        return
    conf = nginx_conf([Served(f"v2/a/{text}", IMAGE)], "http://h", "/srv")
    assert (f"/v2/a/{text}", IMAGE) in map_of(conf)


def test_two_repositories_that_cannot_be_in_one_tree_are_refused() -> None:
    one = Plan([PlanFile("registry/a/index.html", HTML, text="")], [])
    other = Plan([PlanFile("registry/a/index.html/index.html", HTML, text="")], [])
    with pytest.raises(Refused):
        Tree.of("http://h", {"a": one, "a/index.html": other})


def test_what_is_named_is_there_before_its_name() -> None:
    files = [PlanFile(file.path, file.media_type, text="") for file in FILES if file.media_type in (JSON, HTML)]
    files += [PlanFile(file.path, file.media_type, DIGEST, 1) for file in FILES if file.media_type == IMAGE]
    files += [PlanFile(file.path, OCTETS, DIGEST, 1) for file in FILES if file.media_type == OCTETS]
    ordered = Tree.of("http://h", {NAME: Plan(files, [])}).files
    kinds = [file.path.split("/")[-2] + ("@" if ":" in file.path else "") for file in ordered if file.digest]
    assert kinds == ["a" * 64, "blobs@", "manifests@", "manifests", "manifests", "manifests"]
    assert all(file.digest is None for file in ordered[6:])


def test_rule_files_lie_beside_the_tree() -> None:
    tree = Tree.of("http://h/x", {NAME: Plan([], [])})
    files = rule_files(tree, "/srv")
    assert files["v2/index.html"] == b"{}"
    assert f'href="/x/registry/{NAME}/"'.encode() in files["registry/index.html"]


def test_a_layout_lists_each_image_once_by_its_whole_name() -> None:
    one = Descriptor(IMAGE, DIGEST, 3)
    data = layout_index([("b:1", one), ("a:1", one), ("a:1", one), ("", one)])
    assert re.findall(rb'ref.name":"([^"]*)"', data) == [b"a:1", b"b:1"]
    assert data.count(DIGEST.encode()) == 3


@pytest.mark.parametrize(
    "text", ["", "h", "ftp://h", "http://", "http://h:x", "http://h/a b", "http://u@h", "http://h?x"]
)
def test_a_base_url_is_one(text: str) -> None:
    with pytest.raises(UsageError):
        checked_base_url(text)
