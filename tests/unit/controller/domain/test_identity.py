"""Who may call: names, roles, and which keys of an agent count."""

from datetime import UTC, datetime, timedelta

import pytest
from lodeworks_controller.domain.identity import (
    Agent,
    AgentIdentity,
    AgentKind,
    EnrolmentToken,
    ProjectRole,
    Token,
    check_name,
)
from lodeworks_controller.errors import InvalidError

NOW = datetime(2026, 3, 1, tzinfo=UTC)
WORKER = AgentIdentity(AgentKind.WORKER, "01hzy0000000000000000000aa")


def test_roles_cover_those_before_them() -> None:
    assert ProjectRole.OWNER.covers(ProjectRole.VIEWER)
    assert ProjectRole.EDITOR.covers(ProjectRole.EDITOR)
    assert not ProjectRole.VIEWER.covers(ProjectRole.EDITOR)


def test_uri_there_and_back() -> None:
    assert AgentIdentity.from_uri(WORKER.uri) == WORKER


@pytest.mark.parametrize(
    "uri", ["", "lodeworks:worker/", "lodeworks:admin/01hzy0000000000000000000aa", "spiffe://x", WORKER.uri + "/x"]
)
def test_foreign_uris_name_nobody(uri: str) -> None:
    assert AgentIdentity.from_uri(uri) is None


@pytest.mark.parametrize("name", ["a", "ada", "box-1", "a.b_c", "0" * 64])
def test_good_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "Ada", "a b", "-a", "a-", "0" * 65, "a/b", "ä", "a\n"])
def test_bad_names_name_the_field(name: str) -> None:
    with pytest.raises(InvalidError) as caught:
        check_name(name, field="user")

    assert caught.value.field == "user"


def test_token_ends() -> None:
    token = Token("t", "u", "laptop", "h", created_at=NOW, expires_at=NOW + timedelta(days=1))

    assert token.is_valid(at=NOW)
    assert not token.is_valid(at=NOW + timedelta(days=1))
    assert not Token("t", "u", "laptop", "h", created_at=NOW, revoked_at=NOW).is_valid(at=NOW)


def test_one_time_token_is_good_for_one_key() -> None:
    token = EnrolmentToken("t", WORKER, "h", NOW, expires_at=NOW + timedelta(hours=1))
    used = EnrolmentToken("t", WORKER, "h", NOW, expires_at=NOW + timedelta(hours=1), used_key_id="k")

    assert token.is_good_for("k", at=NOW)
    assert used.is_good_for("k", at=NOW)
    assert not used.is_good_for("other", at=NOW)
    assert not used.is_good_for("k", at=NOW + timedelta(hours=1))


def test_newest_key_and_the_one_before_count() -> None:
    def renewed(agent: Agent, *, shown: str, new: str) -> Agent:
        return agent.certified(key_id=new, serial="s", expires_at=NOW, shown_key_id=shown)

    def keys(agent: Agent) -> set[str]:
        return {agent.key_id, agent.previous_key_id} - {""}

    agent = Agent(WORKER, "box", created_at=NOW).certified(key_id="1", serial="s", expires_at=NOW)
    assert keys(agent) == {"1"}
    assert keys(renewed(agent, shown="1", new="1")) == {"1"}
    lost = renewed(agent, shown="1", new="2")
    assert keys(lost) == {"1", "2"}
    assert keys(renewed(lost, shown="1", new="3")) == {"1", "3"}
    assert keys(renewed(lost, shown="2", new="3")) == {"2", "3"}
