"""What may be called how: users, groups, projects, service accounts, roles, and the subjects and patterns of grants.

Names end up in tokens, in scopes, in logs and in `Basic name:password`: so none of them has a space, and no user's a
colon. Groups alone have: what a directory or a provider calls them is not for the registry to choose.
"""

import re

from auth.errors import NameRefused
from auth.principal import ANYBODY, AUTHENTICATED
from auth.roles import BUILT_IN

_COMPONENT = r"[a-z0-9]++(?:(?:\.|__?+|-++)[a-z0-9]++)*+"  # of a repository's name, by the distribution specification
_PROJECT = re.compile(_COMPONENT).fullmatch
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]*+").fullmatch
_GROUP = re.compile(r"[^\s]++(?: ++[^\s]++)*+").fullmatch
_ROLE = re.compile(r"[a-z0-9]++(?:[._-][a-z0-9]++)*+").fullmatch
_PATTERN = re.compile(r"[a-z0-9._/?*-]++").fullmatch
_TAG_PATTERN = re.compile(r"[A-Za-z0-9._?*-]++").fullmatch

_LONGEST_PROJECT = 255
_LONGEST_USER = 255
_LONGEST_GROUP = 256
_LONGEST_ACCOUNT = 128
_LONGEST_ROLE = 64
_LONGEST_PATTERN = 255
_LONGEST_TAG = 128
_LONGEST_LABEL = 100
_RESERVED = "registry-"

SHORTEST_PASSWORD = 8
LONGEST_PASSWORD = 1024


def parse_project(text: str) -> str:
    """Return the name of a project: one component of a repository's name. Raises NameRefused."""
    if len(text) > _LONGEST_PROJECT or _PROJECT(text) is None:
        raise NameRefused(
            f"a project can't be called {_shown(text)}: lower-case letters and digits, with '.', '_' or '-' between "
            "them"
        )
    return text


def is_user(text: str) -> bool:
    """Say whether somebody can be called so, whichever source knows them."""
    return len(text) <= _LONGEST_USER and _USER(text) is not None


def parse_user(text: str) -> str:
    """Return the name of a user. Raises NameRefused."""
    if not is_user(text):
        raise NameRefused(
            f"a user can't be called {_shown(text)}: at most {_LONGEST_USER} letters, digits and '.', '_', '@', '+', "
            "'-'"
        )
    return text


def is_group(text: str) -> bool:
    """Say whether a group can be called so, whoever knows its members."""
    return len(text) <= _LONGEST_GROUP and _GROUP(text) is not None and text.isprintable()


def parse_group(text: str) -> str:
    """Return the name of a group: what a directory calls it, so nearly anything. Raises NameRefused."""
    if not is_group(text):
        raise NameRefused(
            f"a group can't be called {_shown(text)}: at most {_LONGEST_GROUP} characters, with spaces only between "
            "others"
        )
    return text


def parse_account(text: str) -> str:
    """Return the name of a service account in its project. Raises NameRefused."""
    if len(text) > _LONGEST_ACCOUNT or _PROJECT(text) is None:
        raise NameRefused(
            f"a service account can't be called {_shown(text)}: at most {_LONGEST_ACCOUNT} lower-case letters and "
            "digits, with '.', '_' or '-' between them"
        )
    return text


def parse_role(text: str) -> str:
    """Return the name of an own role. Raises NameRefused."""
    if len(text) > _LONGEST_ROLE or _ROLE(text) is None:
        raise NameRefused(
            f"a role can't be called {_shown(text)}: at most {_LONGEST_ROLE} lower-case letters and digits, with '.', "
            "'_' or '-' between them"
        )
    if text in BUILT_IN or text.startswith(_RESERVED):
        raise NameRefused(f"a role can't be called {text}: names that begin with {_RESERVED} are the registry's own")
    return text


def parse_subject(text: str) -> str:
    """Return whom a grant may name. Raises NameRefused."""
    kind, colon, name = text.partition(":")
    if text in {ANYBODY, AUTHENTICATED}:
        return text
    if colon and kind == "user":
        return f"user:{parse_user(name)}"
    if colon and kind == "group":
        return f"group:{parse_group(name)}"
    if colon and kind == "serviceaccount":
        project, slash, account = name.partition("/")
        if slash:
            return f"serviceaccount:{parse_project(project)}/{parse_account(account)}"
    raise NameRefused(
        f"{_shown(text)} is nobody: expected user:NAME, group:NAME, serviceaccount:PROJECT/NAME, {AUTHENTICATED} or "
        f"{ANYBODY}"
    )


def parse_pattern(text: str, project: str) -> str:
    """Return a pattern of repositories in a project, as `auth.grants.matches` takes it. Raises NameRefused.

    It begins with the project's name, as the repositories do: so it says by itself what it is about. `project` "": any
    repositories.
    """
    is_inside = not project or text == project or text.startswith(f"{project}/")
    if len(text) > _LONGEST_PATTERN or _PATTERN(text) is None or not is_inside:
        raise NameRefused(
            f"{_shown(text)} is no pattern of repositories{project and f' in {project}'}: expected "
            f"{project and f'{project}/ and '}names, with * and ? within a component, ** across them"
        )
    return text


def parse_tag_pattern(text: str) -> str:
    """Return a pattern of tags. Raises NameRefused."""
    if len(text) > _LONGEST_TAG or _TAG_PATTERN(text) is None:
        raise NameRefused(f"{_shown(text)} is no pattern of tags: expected letters, digits, '.', '_', '-', * and ?")
    return text


def parse_label(text: str) -> str:
    """Return what somebody calls a token of theirs. Raises NameRefused."""
    if len(text) > _LONGEST_LABEL or not text.isprintable():
        raise NameRefused(f"expected one line of at most {_LONGEST_LABEL} characters to know a token by")
    return text


def check_password(password: str, name: str) -> None:
    """Return if this may be the password of the user with that name. Raises NameRefused, which does not quote it."""
    if len(password) < SHORTEST_PASSWORD:
        raise NameRefused(f"the password is too short: at least {SHORTEST_PASSWORD} characters")
    if len(password.encode(errors="replace")) > LONGEST_PASSWORD:
        raise NameRefused(f"the password is too long: at most {LONGEST_PASSWORD} bytes")
    if password.casefold() == name.casefold():
        raise NameRefused("the password is the user's name")
    if any(character in password for character in "\0\r\n"):
        raise NameRefused("the password has more than one line")


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 80 else f"{text[:77]!r}..."
