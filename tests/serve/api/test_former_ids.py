"""A former id is answered with the person that it leads to, or with the choices."""

from collections.abc import Callable
from typing import Any

import polars as pl

from customer360.serve.api import people
from customer360.serve.publication import documents


class Documents:
    """A view of few documents."""

    def __init__(self, **kinds: dict[str, Any]) -> None:
        self.kinds = kinds

    def get(self, kind: str, key: str) -> Any:
        return self.kinds.get(kind, {}).get(key)


def test_an_id_leads_on_and_is_refused_where_it_was_parted() -> None:
    former = {"p_old": {"person_ids": ["p_ann"]}, "p_parted": {"person_ids": ["p_ann", "p_bob"]}}
    view: Any = Documents(person={"p_ann": {}, "p_bob": {}}, former=former)
    assert people.current_id(view, "p_old") == "p_ann" and people.current_id(view, "p_bob") == "p_bob"
    assert people.current_id(view, "p_nobody") == "p_nobody", "which is a 404 of the route"
    assert people.current_id(Documents(), "p_old") == "p_old"  # type: ignore[arg-type]
    try:
        people.current_id(view, "p_parted")
    except people.HTTPException as fault:
        assert fault.status_code == 409 and "p_ann or p_bob" in fault.detail
    else:
        raise AssertionError("an id of two persons was answered with one")


def test_who_is_published_under_a_former_id() -> None:
    held = pl.DataFrame({"alias_id": ["p_old", "p_parted", "p_parted", "p_bob", "p_gone"], "record_id": list("aabcx")})
    accounts = pl.DataFrame({"record_id": list("abc"), "person_id": ["p_ann", "p_bob", "p_ann"]})
    published = pl.DataFrame({"person_id": ["p_ann", "p_bob"]})
    made = dict(documents.former_documents(held, accounts, published).select("key", "document").iter_rows())
    assert made == {"p_old": '{"person_ids":["p_ann"]}', "p_parted": '{"person_ids":["p_ann","p_bob"]}'}


def test_routes_follow_a_former_id(client: Callable[..., Any], monkeypatch: Any) -> None:
    monkeypatch.setattr("customer360.platform.online.View.get", _with_former(people.View.get))
    with client("reader") as reader:
        for path in ("", "/recommendations", "/scores"):
            answer = reader.get(f"/v1/people/p_former{path}")
            assert answer.status_code == 200 and answer.json()["person_id"] == "p_ann", path


def _with_former(get: Callable[..., Any]) -> Callable[..., Any]:
    def found(view: Any, kind: str, key: str) -> Any:
        if (kind, key) == ("former", "p_former"):
            return {"person_ids": ["p_ann"]}
        return get(view, kind, key)

    return found
