"""Pages of the site (a hook of MkDocs): each stands where it stands in the repository, so one link works in both.

What a page links to comes along, a report as a page and a configuration as a file. `reference/` has a page for every
folder of modules.
"""

import posixpath
import re
import sys
from collections import defaultdict
from pathlib import Path

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
MODULE_LINK = re.compile(r"\]\(([\w./]+)\.py\)")
PACKAGES = ("speech_enhance", "training", "model_cards")


def packages() -> list[str]:
    """Names of the top modules of the reference. Those of `spaces/` are scripts beside each other."""
    return [*PACKAGES, *(path.stem for path in sorted((ROOT / "spaces").glob("*.py")))]


def on_config(config: MkDocsConfig) -> None:
    """MkDocs takes back what a hook does to the path before this."""
    sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]  # the package, and this module for docstrings.py


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The files of the site, named as in the repository. Pages of `docs/` have addresses at its top, as `/command/`."""
    for file in [file for file in files if file.src_dir == config.docs_dir]:
        files.remove(file)
    pages = [path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]]
    for name in ["docs/site/style.css", *reachable([*pages_of(config.nav), *pages])]:
        in_docs = name.startswith("docs/") and name.endswith(".md")
        address = f"{name.removeprefix('docs/').removesuffix('.md')}/index.html" if in_docs else None
        files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls, dest_uri=address))
    for name, text in reference().items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to modules to their entries in the reference, and indent inner lists as Python-Markdown wants them."""
    folder = posixpath.dirname(page.file.src_uri)

    def to_reference(link: re.Match) -> str:
        return f"][{posixpath.normpath(posixpath.join(folder, link[1])).replace('/', '.')}]"

    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    for index in range(0, len(parts), 2):  # those between are blocks of code
        text = MODULE_LINK.sub(to_reference, parts[index])
        parts[index] = re.sub(r"^  (?=- )", "    ", text, flags=re.MULTILINE)
    return "".join(parts)


def pages_of(nav: list | dict | str) -> list[str]:
    """The pages that a part of the navigation names."""
    if isinstance(nav, str):
        return [nav]
    return [page for part in (nav.values() if isinstance(nav, dict) else nav) for page in pages_of(part)]


def reachable(pages: list[str]) -> list[str]:
    """Those of `pages` that are files of the repository, and all files that they link to, directly or by others."""
    waiting, found = list(pages), {}
    while waiting:
        name = waiting.pop(0)
        if name in found or name.endswith(".py") or not (ROOT / name).is_file():
            continue
        found[name] = True
        if name.endswith(".md"):
            links = LINK.findall((ROOT / name).read_text(encoding="utf-8"))
            waiting += [posixpath.normpath(posixpath.join(posixpath.dirname(name), link)) for link in links]
    return list(found)


def reference() -> dict[str, str]:
    """The text of every page of the reference, by its name."""
    import speech_enhance

    public = {name: f"speech_enhance.{module}" for name, module in speech_enhance._EXPORTS.items()}
    pages = defaultdict(list)
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            folder = path.relative_to(ROOT).parent
            in_package = all((ROOT / part / "__init__.py").exists() for part in [folder, *folder.parents][:-1])
            if in_package and path.stat().st_size:
                module = ".".join([*folder.parts, path.stem]).removesuffix(".__init__")
                pages["/".join(folder.parts[:2])].append(module)
    pages["speech_enhance"].remove("speech_enhance")
    pages["speech_enhance"] += pages.pop("speech_enhance/checkpoints")
    pages["spaces"] = packages()[len(PACKAGES) :]
    texts = {"reference/index.md": public_names(public)}
    for folder, modules in pages.items():
        modules.sort(key=lambda module: module not in public.values())
        entries = [f"::: {module}" for module in modules]
        texts[f"reference/{folder}.md"] = "\n\n".join([f"# {folder}", *entries])
    return texts


def public_names(public: dict[str, str]) -> str:
    """The page of what `from speech_enhance import …` gives, each name with the first sentence of its docstring."""
    package = griffe.load("speech_enhance", search_paths=[ROOT])
    rows = []
    for name, module in sorted(public.items()):
        docstring = package.modules_collection[f"{module}.{name}"].docstring
        sentence = re.split(r"(?<=\.)\s|\n\n", docstring.value if docstring else "", maxsplit=1)[0]
        text = re.sub(r"\[`(?:~[\w.]+\.)?([\w.]+)`\]", r"`\1`", " ".join(sentence.split()))
        rows.append(f"| [`{name}`][{module}.{name}] | {text} |")
    intro = "Everything that `from speech_enhance import …` gives. All else may change between releases."
    return "\n".join(["# Public names", "", intro, "", "| name | what it is |", "|---|---|", *rows])
