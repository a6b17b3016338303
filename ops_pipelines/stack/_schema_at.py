"""What a JSON Schema knows at a place of a declaration."""

from __future__ import annotations

from typing import Any

from ops_pipelines.stack._merge import Items, Node, Scalar, child


def fields_at(schema: dict[str, Any], root: Node, path: tuple[str, ...]) -> dict[str, Any]:
    """The keys that a JSON Schema knows at a path of a declaration, each with its own schema."""
    found: dict[str, Any] = {}
    places, node = _places(schema, root, path)
    for place in _forms(schema, places, node):
        found |= place.get("properties", {})
    return found


def tags_at(schema: dict[str, Any], root: Node, path: tuple[str, ...]) -> list[str]:
    """The words that tell the forms of a value apart."""
    places, _ = _places(schema, root, path)
    choices = [each for place in places for each in (place, *place.get("anyOf", ()))]
    return [tag for each in choices for tag in each.get("discriminator", {}).get("mapping", ())]


def _places(schema: dict[str, Any], root: Node, path: tuple[str, ...]) -> tuple[list[dict[str, Any]], Node]:
    places, node = [schema], root
    for word in path:
        places = [below for place in _forms(schema, places, node) for below in _below(place, word)]
        step = child(node, (word,))
        node = step[0].node if step else Items((), node.at)
    return places, node


def _below(place: dict[str, Any], word: str) -> list[dict[str, Any]]:
    if word in place.get("properties", {}):
        return [place["properties"][word]]
    rest = [
        place.get("additionalProperties"),
        place.get("items"),
        *place.get("patternProperties", {}).values(),
    ]
    return [item for item in rest if isinstance(item, dict)]


def _forms(schema: dict[str, Any], places: list[dict[str, Any]], node: Node) -> list[dict[str, Any]]:
    """The schemas that references and choices stand for; where a tag tells them apart, the one it names."""
    found: list[dict[str, Any]] = []
    for place in places:
        if "$ref" in place:
            found += _forms(schema, [schema["$defs"][place["$ref"].rsplit("/", 1)[-1]]], node)
        elif "discriminator" in place:
            step = child(node, (place["discriminator"]["propertyName"],))
            tag = step[0].node.text if step and isinstance(step[0].node, Scalar) else ""
            chosen = place["discriminator"]["mapping"].get(tag)
            found += _forms(schema, [{"$ref": chosen}] if chosen else place["oneOf"], node)
        elif "anyOf" in place or "oneOf" in place:
            found += _forms(schema, [*place.get("anyOf", ()), *place.get("oneOf", ())], node)
        else:
            found.append(place)
    return found
