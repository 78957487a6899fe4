"""The content of Chat messages in the parts of the Responses API."""

from collections.abc import Callable, Mapping
from typing import Any

from addons.wire.parameters import Edits, printable
from addons.wire.plan import BadRequest
from addons.wire.refusals import expect, require, wrong_value

type Part = dict[str, Any]

NO_AUDIO = "Content blocks are expected to be either text or image_url type."
NO_FILE_IDS = "a file_id is of the platform, and the backend has none of its files; send file_data"


def heard_parts(content: str | list[Any], at: str, edits: Edits) -> list[Part]:
    """What the model is told: by the user, the developer or a tool."""
    if isinstance(content, str):
        return [{"type": "input_text", "text": content}]
    return [_part(part, f"{at}[{index}]", _HEARD, edits) for index, part in enumerate(content)]


def assistant_parts(content: str | list[Any], at: str, edits: Edits) -> list[Part]:
    """What the model has said itself; the backend takes no input_text there."""
    if isinstance(content, str):
        return [{"type": "output_text", "text": content}]
    return [_part(part, f"{at}[{index}]", _SAID, edits) for index, part in enumerate(content)]


def _part(part: Any, at: str, known: Mapping[str, Callable[[Part, str], Part]], edits: Edits) -> Part:
    kind = require(expect(part, (dict,), at), "type", (str,), at)
    if kind not in known:
        raise wrong_value(kind, tuple(known), f"{at}.type")
    for name, value in part.items():
        if name != kind and name != "type" and value:
            edits.drop(f"messages[].content[].{printable(name)}", "a part of a message has no such thing at the backend")
    return known[kind](part, at)


def _text(part: Part, at: str) -> Part:
    return {"type": "input_text", "text": require(part, "text", (str,), at)}


def _output_text(part: Part, at: str) -> Part:
    return {"type": "output_text", "text": require(part, "text", (str,), at)}


def _refusal(part: Part, at: str) -> Part:
    return {"type": "refusal", "refusal": require(part, "refusal", (str,), at)}


def _image(part: Part, at: str) -> Part:
    """Some clients write the URL where the object should be. `detail` is demanded by the schema."""
    image = require(part, "image_url", (dict, str), at)
    if isinstance(image, str):
        image = {"url": image}
    url = require(image, "url", (str,), f"{at}.image_url")
    detail = expect(image.get("detail") or "auto", (str,), f"{at}.image_url.detail")
    return {"type": "input_image", "image_url": url, "detail": detail}


def _file(part: Part, at: str) -> Part:
    file = require(part, "file", (dict,), at)
    if file.get("file_id"):
        raise BadRequest(f"Invalid value for '{at}.file.file_id': {NO_FILE_IDS}.", f"{at}.file.file_id", "invalid_value")
    data = require(file, "file_data", (str,), f"{at}.file")
    name = expect(file.get("filename") or "", (str,), f"{at}.file.filename")
    return {"type": "input_file", **({"filename": name} if name else {}), "file_data": data}


def _audio(part: Part, at: str) -> Part:
    raise BadRequest(NO_AUDIO, f"{at}.type", "invalid_value")


_HEARD = {"text": _text, "image_url": _image, "file": _file, "input_audio": _audio}
_SAID = {"text": _output_text, "refusal": _refusal}
