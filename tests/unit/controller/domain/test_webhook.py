"""Webhooks: what they hear, how a delivery goes on, and which addresses they may reach."""

import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from lodeworks_controller.adapters.webhook import Reach, RefusedAddressError
from lodeworks_controller.domain.webhook import MOST_TRIES, Delivery, DeliveryState, Try, new_webhook
from lodeworks_controller.errors import InvalidError

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def webhook(*topics: str, url: str = "https://hooks.example.org/lode", project_id: str = "p"):
    return new_webhook("w", project_id=project_id, name="chat", url=url, topics=topics, created_by="u", at=NOW)


def test_it_hears_its_topics_of_its_project():
    assert webhook().hears("task.failed", project_id="p")
    assert not webhook().hears("task.failed", project_id="other")
    assert webhook("task.*").hears("task.failed", project_id="p")
    assert not webhook("task.*").hears("model.ready", project_id="p")
    assert not webhook("task").hears("task.failed", project_id="p")
    assert webhook("model.ready", project_id="").hears("model.ready", project_id="any")


@pytest.mark.parametrize(
    "url", ["", "ftp://x/y", "https://", "//x", "https://user:pass@x/", "https://x/#y", "https://x/" + "y" * 2_000]
)
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(InvalidError):
        webhook(url=url)


def test_a_topic_that_is_none_is_refused():
    with pytest.raises(InvalidError):
        webhook("Task Failed")


def test_a_delivery_waits_longer_each_time_and_is_given_up():
    delivery = Delivery("d", "w", "task.failed", "t", "{}", NOW, NOW)
    failed, at, pauses = Try(NOW, 500, "the receiver answered 500", 3), NOW, []
    while delivery.state is DeliveryState.WAITING:
        delivery = delivery.after(failed, at=at, chance=0.5)
        pauses.append((delivery.not_before - at).total_seconds())
        at = max(delivery.not_before, at)
    assert delivery.state is DeliveryState.DEAD
    assert delivery.attempts == MOST_TRIES
    assert pauses[:4] == [5, 10, 20, 40]
    assert max(pauses) <= 3_600 * 1.25
    again = delivery.begun_again(at=at)
    assert (again.state, again.attempts, again.ended_at) == (DeliveryState.WAITING, 0, None)
    done = again.after(Try(at, 204, "", 3), at=at, chance=0.5)
    assert (done.state, done.ended_at) == (DeliveryState.DELIVERED, at)


def test_many_that_failed_together_do_not_come_back_together():
    delivery = Delivery("d", "w", "task.failed", "t", "{}", NOW, NOW)
    failed = Try(NOW, 0, "refused", 3)
    waits = {delivery.after(failed, at=NOW, chance=chance / 10).not_before for chance in range(11)}
    assert len(waits) == 11
    assert max(waits) - min(waits) <= timedelta(seconds=2.6)


FORBIDDEN = (
    "127.0.0.1",
    "127.8.8.8",
    "::1",
    "169.254.169.254",
    "fe80::1",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "255.255.255.255",
)


@pytest.mark.parametrize("address", FORBIDDEN)
def test_this_machine_and_its_link_are_out_of_reach(address):
    with pytest.raises(RefusedAddressError):
        Reach().check(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "192.168.7.7", "172.16.0.1", "93.184.216.34", "2606:4700::1", "fd00::7"]
)
def test_a_lab_and_the_world_can_be_reached(address):
    Reach().check(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "http://[::1]:8080/x", "http://localhost/", "http://169.254.169.254/latest"]
)
def test_an_address_by_number_is_refused_at_once_and_an_operator_can_allow_it(url):
    with pytest.raises(InvalidError, match="webhook_networks"):
        Reach().check_url(url)
    Reach(("127.0.0.0/8", "::1/128", "169.254.0.0/16")).check_url(url)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "017700000001"])
def test_short_forms_of_addresses_are_refused(host):
    with pytest.raises(InvalidError, match="no address"):
        Reach().check_url(f"http://{host}/")


def test_a_network_that_is_none_is_refused_at_start():
    with pytest.raises(InvalidError):
        Reach(("127.0.0.1/99",))
