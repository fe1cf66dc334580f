"""What a console page needs: who is signed in, the lake, a template in the common layout, headers; and the sign-in.

A browser signs in with an API key, which it keeps in a cookie that no script and no other site can use; a revoked key
ends the session. Pages are rendered here, load nothing and run no script. A page is one module with a ``router``,
listed in ``build_app``, and its template in ``templates/``; the menu in the head leads to it where its route has a
``summary``. docs/recipes/console-page.md shows one.
"""

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Annotated, Any
from urllib.parse import unquote, urlencode, urlsplit

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from customer360.platform import access
from customer360.platform.access import Principal, Role
from customer360.platform.errors import AccessDenied
from customer360.platform.lake import Lake
from customer360.serve.gate import slow_down
from customer360.serve.stewardship import Desk

router = APIRouter()
PREFIX, COOKIE = "/console", "c360_key"
HOME = f"{PREFIX}/review"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
environment = Environment(
    loader=PackageLoader("customer360.serve.console"), autoescape=select_autoescape(), undefined=StrictUndefined
)


environment.globals["menu"] = []  # of `menu`; set by ``build_app``


def menu(modules: Iterable[ModuleType]) -> list[tuple[str, str]]:
    """Address and name of the pages that the menu leads to: routes with a ``summary``, which is the name."""
    routes = [route for module in modules for route in module.router.routes if isinstance(route, APIRoute)]
    return [(PREFIX + route.path, route.summary) for route in routes if route.summary]


class SignInNeeded(Exception):
    """The browser has no key of the role that a page needs; it is led to the sign-in, and back to ``page``."""

    def __init__(self, role: Role, page: str) -> None:
        super().__init__(f"{page} needs a key of role {role}")
        self.role, self.page = role, page


def signed_in(role: Role) -> Callable[[Request], Principal]:
    """A dependency: who looks at the page, with a key of ``role`` or above.

    It raises SignInNeeded without such a key, AccessDenied for a form that another site sent, and HTTPException where
    the rate of the key is used up.
    """

    def principal(request: Request) -> Principal:
        if request.method == "POST":
            from_here(request)
        try:
            found = access.verify(request.app.state.folder, request.cookies.get(COOKIE))
            access.require(found, role)
            access.require_scope(found, "identity")
        except AccessDenied as fault:
            raise SignInNeeded(role, _asked_for(request)) from fault
        slow_down(request.app.state.rates, found, request.app.state.requests_per_minute)
        request.state.principal = found
        return found

    return principal


def _is_ours(request: Request) -> bool:
    """Whether a form comes from a page of this application. Behind a proxy that names another host, `public_url` is
    what browsers know."""
    said = request.headers.get("sec-fetch-site")
    if said in ("cross-site", "same-site"):
        return False
    origin = request.headers.get("origin")
    ours = {request.headers.get("host"), urlsplit(request.app.state.public_url).netloc} - {"", None}
    return origin is None or _place(origin) in ours


def _place(origin: str) -> str | None:
    """Host and port of an origin; None where it is no address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def from_here(request: Request) -> None:
    """A dependency of forms. Raises AccessDenied for one that another site sent: nobody is to be signed in as somebody
    else, nor out."""
    if not _is_ours(request):
        raise AccessDenied("the form was sent by another site")


def _asked_for(request: Request) -> str:
    """Path and query of a page; HOME for a form, which is not sent twice."""
    query = f"?{request.url.query}" if request.url.query else ""
    return request.url.path + query if request.method == "GET" else HOME


def lake(request: Request) -> Lake:
    """The lake as it is now, with every table declared."""
    desk: Desk = request.app.state.desk
    return desk.lake


CurrentLake = Annotated[Lake, Depends(lake)]


def render(template: str, principal: Principal | None, status: int = 200, **values: Any) -> HTMLResponse:
    """A page from a template of ``templates/``, which extends ``layout.html``; ``principal`` stands in its head."""
    page = environment.get_template(template).render(principal=principal, **values)
    return HTMLResponse(page, status, HEADERS)


def redirect(address: str) -> RedirectResponse:
    """Answer to a form: the browser asks for another page."""
    return RedirectResponse(address, 303, HEADERS)


# ---- signing in -----------------------------------------------------------------------------------------------


def sign_in_first(needed: SignInNeeded) -> Response:
    """Handler of SignInNeeded."""
    return redirect(f"{PREFIX}/sign-in?{urlencode({'role': needed.role, 'page': needed.page})}")


@router.get("/sign-in")
def sign_in_page(role: Role = "steward", page: str = HOME) -> HTMLResponse:
    return render("sign_in.html", None, role=role, page=page, problem=None)


@router.post("/sign-in", dependencies=[Depends(from_here)])
def sign_in(
    request: Request, key: Annotated[str, Form()], role: Annotated[Role, Form()] = "steward",
    page: Annotated[str, Form()] = HOME,
) -> Response:  # fmt: skip
    """Keep the key in a cookie and go where the browser wanted to. The page itself checks the role again."""
    try:
        access.require(access.verify(request.app.state.folder, key.strip()), role)
    except AccessDenied as fault:
        return render("sign_in.html", None, 401, role=role, page=page, problem=str(fault))
    answer = redirect(page if _is_page(page) else HOME)
    secure = request.url.scheme == "https" or request.app.state.public_url.startswith("https://")
    answer.set_cookie(COOKIE, key.strip(), httponly=True, samesite="strict", secure=secure, path=PREFIX)
    return answer


def _is_page(address: str) -> bool:
    """Whether an address stays below PREFIX, wherever a browser makes of it."""
    path = address.partition("?")[0]
    return path.startswith(f"{PREFIX}/") and not {".", ".."} & set(unquote(path).replace("\\", "/").split("/"))


@router.post("/sign-out", dependencies=[Depends(from_here)])
def sign_out() -> Response:
    answer = redirect(f"{PREFIX}/sign-in")
    answer.delete_cookie(COOKIE, path=PREFIX)
    return answer
