"""Docstrings of Hugging Face's doc-builder style as Markdown for mkdocstrings (an extension of griffe).

Links are written as in Diffusers: [`X`] shows `X`, [`~X.y`] shows `y`. The name may be one of the docstring's own scope
or the end of any name in the documented packages, if it is the end of only one.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from inspect import cleandoc

import griffe
from mkdocs.plugins import get_plugin_logger
from pages import packages

logger = get_plugin_logger(__name__)
LINK = re.compile(r"\[`(~?)([\w.]+)`\](?![\[(])")
SECTION = re.compile(r"^(Args|Returns|Yields|Raises):$", re.MULTILINE)
ENTRY = re.compile(r"^(?! )(.+?):(?=\s)", re.MULTILINE | re.DOTALL)


class DocBuilderDocstrings(griffe.Extension):
    """Turns every docstring of the documented packages into Markdown before the first is shown.

    Args:
        elsewhere: Address of each name of another project that a docstring links to.
    """

    def __init__(self, elsewhere: dict[str, str]):
        self.elsewhere = elsewhere
        self.endings: dict[str, list[griffe.Object]] = defaultdict(list)
        self.loading = False

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **kwargs) -> None:
        """Load all packages with the first, since a link may lead from each to each."""
        if self.loading:
            return
        self.loading = True
        modules = [loader.load(name) for name in packages()]
        documented = [item for module in modules for item in walk(module)]
        for item in documented:
            parts = item.path.split(".")
            for start in range(len(parts)):
                self.endings[".".join(parts[start:])].append(item)
        for item in documented:
            if item.docstring:
                item.docstring.value = LINK.sub(partial(self.link, item), markdown(item.docstring.value))

    def link(self, item: griffe.Object, match: re.Match) -> str:
        """The Markdown of a link in the docstring of `item`."""
        short, name = match.groups()
        text = f"`{name.rpartition('.')[2] if short else name}`"
        if name in self.elsewhere:
            return f"[{text}]({self.elsewhere[name]})"
        return f"[{text}][{self.path(item, name)}]"

    def path(self, item: griffe.Object, name: str) -> str:
        """Path of what `name` means in the docstring of `item`; without one, `name` itself and a warning."""
        first, dot, rest = name.partition(".")
        try:
            found = item.modules_collection[item.resolve(first) + dot + rest]
            candidates = [found.final_target if found.is_alias else found]
        except (griffe.GriffeError, KeyError):
            candidates = self.endings[name]
        candidates = [other for other in candidates if not other.is_module] or candidates
        candidates = [other for other in candidates if other.package == item.package] or candidates
        if len(candidates) != 1:
            meanings = " or ".join(other.path for other in candidates) or "nothing here or in `elsewhere` of mkdocs.yml"
            logger.warning("%s: [`%s`] means %s", item.path, name, meanings)
            return name
        (found,) = candidates
        found.docstring = found.docstring or griffe.Docstring("", parent=found)  # mkdocstrings leaves out what has none
        return found.path


def walk(item: griffe.Object) -> Iterator[griffe.Object]:
    """`item` and everything that is defined in it."""
    yield item
    for member in item.members.values():
        if not member.is_alias:
            yield from walk(member)


def markdown(docstring: str) -> str:
    """A docstring with its sections as paragraphs and lists, links as they were."""
    text, *sections = SECTION.split(cleandoc(docstring))
    parts = [text.strip()]
    for title, content in zip(sections[::2], sections[1::2], strict=True):
        content = cleandoc("\n" + content)
        parts.append(f"**{title}**")
        parts.append(content if title in ("Returns", "Yields") else entries(content))
    return "\n\n".join(parts)


def entries(content: str) -> str:
    """The list of an `Args` or `Raises` section: names in front of a colon, text behind it that may go on indented."""
    starts = [match.start() for match in re.finditer(r"^(?=\S)", content, re.MULTILINE)]
    items = [content[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]
    return "\n".join(ENTRY.sub(lambda match: f"- {names(match[1])}:", item, count=1).rstrip() for item in items)


def names(text: str) -> str:
    """The names of an entry as code; what stands in parentheses is Markdown already."""
    return re.sub(r"\(.*?\)(?=,|$)|`.*?`|[\w.*]+", lambda part: part[0] if part[0][0] in "(`" else f"`{part[0]}`", text)
