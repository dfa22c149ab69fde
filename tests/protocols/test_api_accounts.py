"""Log-in, tokens, keys, robots, roles, projects: who may make and unmake them, and that they die when they should."""

import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.asking import DataApi, ask
from tests.calling import Api, admin, bucket, problem, user
from tests.running import RunningServer

PASSWORD = "a long enough password"


@pytest.fixture
def api(server: RunningServer) -> Api:
    return admin(server)


@pytest.fixture
def someone(api: Api) -> str:
    """A user with a password."""
    name = f"user-{secrets.token_hex(4)}"
    api.done("POST", "/users", {"name": name, "password": PASSWORD}, 201)
    return name


def log_in(server: RunningServer, name: str, password: str, **more: object) -> Api:
    token = Api(server).done("POST", "/login", {"user": name, "password": password, **more}, 201).token
    return Api(server, token)


def test_a_name_and_its_password_give_a_token(server: RunningServer, someone: str) -> None:
    me = log_in(server, someone, PASSWORD, seconds=60).done("GET", "/me")
    assert (me.name, me.kind, me.admin, me.projects) == (someone, "user", False, [])
    for seconds in (0, -5):
        wish = {"user": someone, "password": PASSWORD, "seconds": seconds}
        assert Api(server).refused("POST", "/login", wish).status == 400


def test_whatever_is_wrong_with_a_log_in_the_answer_is_the_same(server: RunningServer, api: Api, someone: str) -> None:
    api.done("POST", "/users", {"name": f"{someone}-off", "password": PASSWORD}, 201)
    api.done("PUT", f"/users/{someone}-off", {"disabled": True})
    api.done("POST", "/users", {"name": f"{someone}-oidc"}, 201)
    api.done("POST", "/robots", {"name": f"{someone}-robot", "project": "default"}, 201)
    seen = set()
    for name, password in (
        (someone, "wrong"), (someone, ""), ("nobody-at-all", PASSWORD), (f"{someone}-off", PASSWORD),
        (f"{someone}-oidc", ""), (f"{someone}-oidc", PASSWORD), ("", ""), ("\x01", "\x01"), (f"{someone}-robot", ""),
        (f"{someone}-robot", "wrong"),
    ):  # fmt: skip
        found = Api(server).refused("POST", "/login", {"user": name, "password": password})
        seen.add((found.status, found.code, found.message, found.why, found.advice))
    assert seen == {(401, "denied", "log-in refused", "the name or the password is wrong", "")}
    api.done("DELETE", f"/robots/{someone}-robot", None, 204)


def test_ten_wrong_passwords_and_the_next_must_wait_but_nobody_else(server: RunningServer, someone: str) -> None:
    wish = {"user": someone, "password": "wrong"}
    assert [Api(server).ask("POST", "/login", wish).status for _ in range(10)] == [401] * 10
    answer = Api(server).ask("POST", "/login", {"user": someone, "password": PASSWORD})
    assert problem(answer).code == "temporary"
    assert answer.status == 429
    assert 0 < int(answer["retry-after"]) <= 900
    other = f"{someone}-other"
    admin(server).done("POST", "/users", {"name": other, "password": PASSWORD}, 201)
    log_in(server, other, PASSWORD)


def test_a_right_password_forgets_the_wrong_ones(server: RunningServer, someone: str) -> None:
    for _ in range(2):
        for _ in range(6):
            assert Api(server).refused("POST", "/login", {"user": someone, "password": "wrong"}).status == 401
        log_in(server, someone, PASSWORD)


def test_a_revoked_token_is_dead_at_the_next_request(server: RunningServer, api: Api, someone: str) -> None:
    first, second = log_in(server, someone, PASSWORD), log_in(server, someone, PASSWORD)
    found = first.done("GET", "/tokens")
    assert {one.user for one in found} == {someone}, "one's own alone"
    assert len(found) == 2
    jti = next(one.jti for one in found)
    (first if found[0].jti == jti else second).done("DELETE", f"/tokens/{jti}", None, 204)
    assert sorted([first.ask("GET", "/me").status, second.ask("GET", "/me").status]) == [200, 401]
    assert {one.jti: one.revoked for one in api.done("GET", "/tokens") if one.user == someone}[jti]


def test_nobody_revokes_the_tokens_and_keys_of_others(server: RunningServer, api: Api) -> None:
    (_, mine), (_, other) = user(server, "reader"), user(server, "reader")
    jti = mine.done("GET", "/tokens")[-1].jti
    key = mine.done("POST", "/keys", {}, 201).access
    for path in (f"/tokens/{jti}", f"/keys/{key}"):
        refused, nonsense = other.refused("DELETE", path), other.refused("DELETE", path[:-1] + "x")
        assert (refused.status, refused.message) == (404, nonsense.message)
    assert mine.done("GET", "/me")
    assert [one.access for one in mine.done("GET", "/keys")] == [key]
    assert other.done("GET", "/keys") == []
    api.done("DELETE", f"/keys/{key}", None, 204)


def test_a_disabled_user_is_out_at_once_and_back_when_enabled(server: RunningServer, api: Api, someone: str) -> None:
    mine = log_in(server, someone, PASSWORD)
    api.done("PUT", f"/users/{someone}", {"disabled": True})
    assert mine.refused("GET", "/me").status == 401
    assert Api(server).refused("POST", "/login", {"user": someone, "password": PASSWORD}).status == 401
    api.done("PUT", f"/users/{someone}", {"disabled": False})
    assert mine.done("GET", "/me").name == someone


def test_another_password_kills_every_token_even_of_the_same_second(server: RunningServer, someone: str) -> None:
    mine, other = log_in(server, someone, PASSWORD), log_in(server, someone, PASSWORD)
    mine.done("PUT", f"/users/{someone}", {"password": "another long password"})
    assert (mine.ask("GET", "/me").status, other.ask("GET", "/me").status) == (401, 401)
    assert Api(server).refused("POST", "/login", {"user": someone, "password": PASSWORD}).status == 401
    assert log_in(server, someone, "another long password").done("GET", "/me").name == someone


def test_a_user_changes_its_own_password_and_nothing_else(server: RunningServer, someone: str) -> None:
    mine = log_in(server, someone, PASSWORD)
    for change in ({"admin": True}, {"disabled": False}, {"password": "x", "admin": False}):
        assert mine.refused("PUT", f"/users/{someone}", change).status == 403
    assert mine.refused("PUT", "/users/admin", {"password": "x"}).status == 403
    assert mine.refused("PUT", "/users/nobody-at-all", {"password": "x"}).status == 403


def test_tokens_for_others_and_with_groups_or_a_job_are_made_by_admins_alone(
    server: RunningServer, api: Api, someone: str
) -> None:
    _, mine = user(server, groups=("a",))
    assert mine.done("POST", "/tokens", {"groups": ["a"]}, 201).user
    for wish in ({"user": someone}, {"groups": ["a", "b"]}, {"groups": ["a/b"]}, {"job": "1"}, {"user": "admin"}):
        assert mine.refused("POST", "/tokens", wish).status == 403
    made = api.done("POST", "/tokens", {"user": someone, "groups": ["a", "b/c"], "job": "1"}, 201)
    me = Api(server, made.token).done("GET", "/me")
    assert (me.name, me.groups, me.job) == (someone, ["a", "b/c"], "1")
    assert api.refused("POST", "/tokens", {"user": "nobody-at-all"}).status == 404
    for wish in ({"groups": ["a,b"]}, {"groups": [""]}, {"expires": "0s"}, {"expires": "500d"}):
        assert api.refused("POST", "/tokens", wish).status == 400


@pytest.mark.parametrize("job", ["", ".", "..", "a/b", "a b", "é", "x" * 129, "1\n"])
def test_a_job_that_could_have_no_outputs_gets_no_token(api: Api, someone: str, job: str) -> None:
    refused = api.refused("POST", "/tokens", {"user": someone, "job": job})
    assert (refused.status, refused.message) == (400, f"not the name of a job: {job!r:.99}")


def test_a_token_that_would_be_refused_for_its_size_is_not_made(server: RunningServer, api: Api, someone: str) -> None:
    groups = [f"group-{number:012}" for number in range(700)]
    made = api.done("POST", "/tokens", {"user": someone, "groups": groups[:500]}, 201)
    assert Api(server, made.token).done("GET", "/me").groups == groups[:500]
    refused = api.refused("POST", "/tokens", {"user": someone, "groups": groups})
    assert (refused.status, refused.advice) == (400, "name fewer groups")


def test_a_token_never_outlives_the_one_that_made_it(server: RunningServer, api: Api, someone: str) -> None:
    short = Api(server, api.done("POST", "/tokens", {"user": someone, "expires": "1m"}, 201).token)
    ends = short.done("GET", "/me").expires
    assert Api(server, short.done("POST", "/tokens", {"expires": "1d"}, 201).token).done("GET", "/me").expires <= ends


def test_a_token_of_a_job_sees_to_no_accounts_not_even_an_admins(server: RunningServer, api: Api) -> None:
    """It lies on a worker; whoever has it must not become its owner, or the admin."""
    tag = secrets.token_hex(4)
    name, _ = user(server, "owner")
    owner = Api(server, api.done("POST", "/tokens", {"user": name, "job": tag}, 201).token)
    whole = Api(server, api.done("POST", "/tokens", {"job": tag}, 201).token)
    jti = api.done("POST", "/tokens", {}, 201).jti
    key = api.done("POST", "/keys", {}, 201).access
    for one, own_name in ((owner, name), (whole, "admin")):
        for method, path, body in (
            ("PUT", f"/users/{own_name}", {"password": "taken over"}),
            ("POST", "/users", {"name": f"x-{tag}"}),
            ("PUT", "/roles", {"principal": name, "project": "default", "role": "owner"}),
            ("DELETE", f"/roles/default/{name}", None),
            ("POST", "/robots", {"name": f"x-{tag}", "project": "default"}),
            ("POST", "/keys", {}),
            ("POST", "/tokens", {}),
            ("POST", "/tokens", {"job": "another"}),
            ("DELETE", f"/tokens/{jti}", None),
            ("DELETE", f"/keys/{key}", None),
            ("GET", "/users", None),
        ):
            assert one.refused(method, path, body).status == 403, (method, path)
        assert one.done("POST", "/tokens", {"job": tag}, 201)
        assert {found.user for found in one.done("GET", "/tokens")} == {own_name}
        assert all(found.principal == own_name for found in one.done("GET", "/keys"))
    api.done("DELETE", f"/keys/{key}", None, 204)


def test_a_robot_logs_in_with_its_secret_and_is_its_role_in_its_project(server: RunningServer, api: Api) -> None:
    tag = secrets.token_hex(4)
    api.done("POST", "/projects", {"name": f"p-{tag}"}, 201)
    _, owner = user(server)
    api.done("PUT", "/roles", {"principal": owner.done("GET", "/me").name, "project": f"p-{tag}", "role": "owner"})
    secret = owner.done("POST", "/robots", {"name": f"r-{tag}", "project": f"p-{tag}", "role": "writer"}, 201).secret
    owner.done("PUT", f"/buckets/p-{tag}:box", {}, 201)
    robot = log_in(server, f"r-{tag}", secret)
    me = robot.done("GET", "/me")
    assert (me.kind, me.project, [(one.name, one.role) for one in me.projects]) == (
        "robot", f"p-{tag}", [(f"p-{tag}", "writer")]
    )  # fmt: skip
    assert robot.done("PUT", "/objects/box/a", b"x", 201), "a bare bucket is one of its own project"
    assert robot.refused("DELETE", "/objects/box/a").status == 403
    assert robot.refused("PUT", f"/users/r-{tag}", {"password": "x"}).status == 403
    assert owner.refused("POST", "/robots", {"name": f"r-{tag}", "project": f"p-{tag}"}).status == 409
    assert owner.refused("POST", "/robots", {"name": f"q-{tag}", "project": "default"}).status == 404
    assert api.refused("PUT", f"/users/r-{tag}", {"password": "x"}).status == 404, "a robot is no user"
    assert api.refused("DELETE", f"/users/r-{tag}").status == 404
    owner.done("DELETE", f"/objects/p-{tag}:box/a", None, 204)
    api.done("DELETE", f"/robots/r-{tag}", None, 204)
    assert robot.refused("GET", "/me").status == 401
    assert Api(server).refused("POST", "/login", {"user": f"r-{tag}", "password": secret}).status == 401


def test_a_key_signs_until_it_is_removed(server: RunningServer, api: Api) -> None:
    name, mine = user(server, "reader")
    made = mine.done("POST", "/keys", {"project": "default"}, 201)
    assert (made.principal, made.project) == (name, "default")
    assert len(made.secret) == 40
    assert mine.done("GET", "/keys")[0].secret is None
    assert api.done("POST", "/keys", {"principal": name}, 201).principal == name
    assert mine.refused("POST", "/keys", {"principal": "admin"}).status == 403
    for project in ("nowhere-at-all", api.done("POST", "/projects", {"name": f"k-{name}"}, 201).name):
        found = mine.refused("POST", "/keys", {"project": project})
        assert (found.status, found.message) == (404, "no such name")
    mine.done("DELETE", f"/keys/{made.access}", None, 204)
    assert mine.refused("DELETE", f"/keys/{made.access}").status == 404
    api.done("DELETE", f"/projects/k-{name}", None, 204)


def test_owners_give_roles_in_their_project_alone(server: RunningServer, api: Api) -> None:
    tag = secrets.token_hex(4)
    api.done("POST", "/projects", {"name": f"o-{tag}"}, 201)
    (name, owner), (other, _) = user(server), user(server)
    api.done("PUT", "/roles", {"principal": name, "project": f"o-{tag}", "role": "owner"})
    owner.done("PUT", "/roles", {"principal": other, "project": f"o-{tag}", "role": "maintainer"})
    assert [(one.name, one.role) for one in Api(server, server.tokens[other]).done("GET", "/me").projects] == [
        (f"o-{tag}", "maintainer")
    ]
    refused = {
        (found.status, found.message)
        for found in (
            owner.refused("PUT", "/roles", {"principal": other, "project": project, "role": "reader"})
            for project in ("default", "nowhere-at-all")
        )
    }
    assert refused == {(404, "no such name")}
    assert owner.refused("PUT", "/roles", {"principal": other, "project": f"o-{tag}", "role": "king"}).status == 400
    assert (
        owner.refused("PUT", "/roles", {"principal": "nobody-x", "project": f"o-{tag}", "role": "guest"}).status == 404
    )
    owner.done("DELETE", f"/roles/o-{tag}/{other}", None, 204)
    assert Api(server, server.tokens[other]).done("GET", "/me").projects == []


def test_a_project_goes_when_nothing_is_in_it(server: RunningServer, api: Api) -> None:
    name = f"p-{secrets.token_hex(4)}"
    api.done("POST", "/projects", {"name": name}, 201)
    assert api.refused("POST", "/projects", {"name": name}).status == 409
    api.done("PUT", "/roles", {"principal": "admin", "project": name, "role": "owner"})
    api.done("PUT", f"/buckets/{name}:box", {}, 201)
    assert api.refused("DELETE", f"/projects/{name}").status == 409
    api.done("DELETE", f"/buckets/{name}:box", None, 204)
    api.done("POST", "/robots", {"name": f"r-{name}", "project": name}, 201)
    assert api.refused("DELETE", f"/projects/{name}").status == 409
    api.done("DELETE", f"/robots/r-{name}", None, 204)
    api.done("POST", "/keys", {"project": name}, 201)
    api.done("DELETE", f"/projects/{name}", None, 204)
    assert api.refused("DELETE", f"/projects/{name}").status == 404


@pytest.mark.parametrize("name", ["", "A", "-a", "a" * 64, "a b", "a/b", "ü"])
def test_what_is_no_project_name_is_refused(api: Api, name: str) -> None:
    assert api.refused("POST", "/projects", {"name": name}).status == 400


@pytest.mark.parametrize("name", ["", "-a", "a" * 129, "a b", "a/b", "ü", "a\n", "a:b"])
def test_what_is_no_user_name_is_refused(api: Api, name: str) -> None:
    assert api.refused("POST", "/users", {"name": name}).status == 400
    assert api.refused("POST", "/robots", {"name": name, "project": "default"}).status == 400


def test_a_quota_counts_what_is_stored_and_may_be_changed(server: RunningServer, api: Api) -> None:
    name = f"q-{secrets.token_hex(4)}"
    assert api.done("POST", "/projects", {"name": name, "quota": 10}, 201).quota == 10
    api.done("PUT", "/roles", {"principal": "admin", "project": name, "role": "owner"})
    api.done("PUT", f"/buckets/{name}:box", {}, 201)
    api.done("PUT", f"/objects/{name}:box/a", b"123456", 201)
    assert api.refused("PUT", f"/objects/{name}:box/b", b"12345").status == 413
    api.done("PUT", f"/objects/{name}:box/a", b"1234567890", 201)
    assert {one.name: (one.used, one.quota) for one in api.done("GET", "/me").projects}[name] == (10, 10)
    api.done("PUT", f"/projects/{name}", {"name": name, "quota": 15})
    api.done("PUT", f"/objects/{name}:box/b", b"12345", 201)
    for key in "ab":
        api.done("DELETE", f"/objects/{name}:box/{key}", None, 204)
    found = next(one for one in api.done("GET", "/projects") if one.name == name)
    assert (found.used, found.reserved) == (0, 0), "the trash is not counted"
    for quota in (-1, 2**63):
        assert api.refused("POST", "/projects", {"name": "x", "quota": quota}).status == 400


def test_only_admins_see_to_users_and_projects(server: RunningServer) -> None:
    _, owner = user(server, "owner")
    for method, path, body in (
        ("GET", "/users", None), ("POST", "/users", {"name": "x"}), ("DELETE", "/users/admin", None),
        ("GET", "/robots", None), ("GET", "/projects", None), ("POST", "/projects", {"name": "x"}),
        ("PUT", "/projects/default", {"name": "default"}), ("DELETE", "/projects/default", None),
        ("GET", "/roles", None),
    ):  # fmt: skip
        assert owner.refused(method, path, body).status == 403
        assert Api(server).refused(method, path, body).status == 401


def test_an_admin_without_a_role_sees_no_data_but_its_own_area(server: RunningServer, api: Api) -> None:
    name, other = user(server)
    box = bucket(server)
    api.put(f"{box}/a", b"x")
    api.done("PUT", f"/users/{name}", {"admin": True})
    assert other.done("GET", "/users")
    assert other.refused("GET", f"/objects/{box}/a").status == 404
    assert other.refused("GET", "/buckets").status == 404
    assert DataApi(server, other.token).put("mine", b"x").status == 201
    assert DataApi(server, other.token).names() == ["mine"]
    other.done("PUT", "/roles", {"principal": name, "project": "default", "role": "reader"})
    assert other.done("GET", f"/objects/{box}/a") == b"x"


def test_a_user_whose_uploads_are_open_can_be_removed(server: RunningServer, api: Api) -> None:
    name, mine = user(server, "writer")
    box = bucket(server)
    mine.put(f"{box}/a", b"stays")
    mine.begin(f"{box}/b", size=5)
    mine.done("POST", "/keys", {}, 201)
    mine.done("POST", "/links", {"ref": f"{box}/a"}, 201)
    api.done("DELETE", f"/users/{name}", None, 204)
    assert api.get(f"{box}/a") == b"stays"


def test_many_changes_at_once_all_happen(server: RunningServer, api: Api) -> None:
    tag = secrets.token_hex(4)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: api.ask("POST", "/users", {"name": f"m-{tag}-{n % 10}"}).status, range(20)))
    assert sorted(made) == [201] * 10 + [409] * 10


def test_the_log_in_page_of_another_protocol_is_not_this_one(server: RunningServer) -> None:
    assert ask(f"{server.url}/api/v1/login").status == 405
