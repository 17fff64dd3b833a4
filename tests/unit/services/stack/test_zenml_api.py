import socket
import threading

import pytest

from src.services.stack.errors import NoAnswerError, StackError
from src.services.stack.zenml_api import ZenmlApi
from tests.support.running import free_port
from tests.unit.services.stack.fakes import FakeZenml

ACCOUNT = "training-service"


@pytest.fixture
def api(zenml: FakeZenml) -> ZenmlApi:
    return ZenmlApi(f"http://127.0.0.1:{zenml.port}")


@pytest.fixture
def admin(api: ZenmlApi) -> ZenmlApi:
    api.log_in("admin", "right")
    return api


def test_version_goes_past_every_proxy(zenml: FakeZenml, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert ZenmlApi(f"http://127.0.0.1:{zenml.port}").version() == "0.98.0"


def test_version_of_nothing_may_be_asked_again() -> None:
    with pytest.raises(NoAnswerError, match=r"ZenML at http://127\.0\.0\.1:\d+ does not answer .*refused"):
        ZenmlApi(f"http://127.0.0.1:{free_port()}").version()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>hello"),
        (200, b"[]"),
        (200, b'{"version": "1"}'),
        (200, b"\xff"),
        (404, b'{"detail": "x"}'),
        (302, b""),
    ],
)
def test_version_knows_what_is_not_zenml(api: ZenmlApi, zenml: FakeZenml, status: int, body: bytes) -> None:
    zenml.fails["/info"] = (status, body)
    with pytest.raises(StackError, match=rf"what answers at {api.url} is not ZenML; stop it, or .*ZENML_PORT"):
        api.version()
    assert zenml.requests == ["GET /info"]


def test_version_knows_what_does_not_speak_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                connection.recv(1000)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(StackError, match="is not ZenML"):
            ZenmlApi(f"http://127.0.0.1:{server.getsockname()[1]}").version()
        thread.join()


def test_log_in_says_what_to_do_about_a_wrong_password(api: ZenmlApi) -> None:
    with pytest.raises(StackError, match=r"ZenML refuses the password of admin: .* set ZENML_ADMIN_PASSWORD") as caught:
        api.log_in("admin", "wr0ng")
    assert "wr0ng" not in str(caught.value)


def test_log_in_sends_the_password_nowhere_else(api: ZenmlApi, zenml: FakeZenml) -> None:
    zenml.fails["/login"] = (307, b"{}")
    with pytest.raises(StackError, match="ZenML answers 307 to a request for a login"):
        api.log_in("admin", "right")
    assert zenml.requests == ["POST /login"]


def test_log_in_does_not_repeat_what_the_server_says(api: ZenmlApi, zenml: FakeZenml) -> None:
    zenml.fails["/login"] = (422, b'{"detail": [{"input": "right"}]}')
    with pytest.raises(StackError, match=r"ZenML answers 422 to a request for a login; .*logs zenml") as caught:
        api.log_in("admin", "right")
    assert "right" not in str(caught.value)


def test_service_account_is_created_once(admin: ZenmlApi, zenml: FakeZenml) -> None:
    assert admin.service_account(ACCOUNT) == ("4711", True)
    assert admin.service_account(ACCOUNT) == ("4711", False)
    assert zenml.requests.count("POST /service_accounts") == 1


def test_service_account_that_is_deactivated_stays_so(admin: ZenmlApi, zenml: FakeZenml) -> None:
    zenml.accounts[ACCOUNT] = {"id": "4711", "name": ACCOUNT, "body": {"active": False}}
    with pytest.raises(StackError, match="the service account training-service is deactivated; activate it in the"):
        admin.service_account(ACCOUNT)


def test_service_account_is_for_admins(api: ZenmlApi) -> None:
    with pytest.raises(StackError, match="ZenML answers 401 to a request for the service account training-service"):
        api.service_account(ACCOUNT)


def test_api_key_is_created_and_then_rotated_with_an_hour_for_the_former(admin: ZenmlApi, zenml: FakeZenml) -> None:
    assert admin.api_key("4711", "training") == ("ZENKEY_generation/1+==", True)
    assert admin.api_key("4711", "training") == ("ZENKEY_generation/2+==", False)
    assert zenml.keys["training"]["retain"] == 60
    assert admin.accepts_key("ZENKEY_generation/2+==")
    assert not admin.accepts_key("ZENKEY_generation/1+==")


def test_api_key_that_is_deactivated_stays_so(admin: ZenmlApi, zenml: FakeZenml) -> None:
    zenml.keys["training"] = {"generation": 1, "active": False}
    with pytest.raises(StackError, match="the API key training is deactivated; activate or delete it"):
        admin.api_key("4711", "training")


def test_api_key_that_env_cannot_hold_is_refused(admin: ZenmlApi, zenml: FakeZenml) -> None:
    zenml.fails["/service_accounts/4711/api_keys"] = (200, b'{"body": {"active": true, "key": "a b\\n"}}')
    with pytest.raises(StackError, match=r"contains characters that \.env cannot hold") as caught:
        admin.api_key("4711", "training")
    assert "a b" not in str(caught.value)
