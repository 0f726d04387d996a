"""Pictures in HTML: a tab for each kind, a slider over training, all pictures in print."""

from collections.abc import Sequence

from dlrun.report.html import Safe, details, join, section, tag
from dlrun.report.pictures import Film, Frame, Gallery

_SHOWN = 12  # films; the others are folded away
_TITLES = {
    "views": "What the network is shown",
    "samples_mixture": "Samples from a mixture of codes",
    "traversals": "Latent traversals",
}
_LEGENDS = {
    "reconstructions": "above the images, below what comes back",
    "predictions": "a row for each class with what was taken for it; red frames are mistakes",
    "neighbours": "an image, and the train images with the nearest features",
    "traversals": "a row for each number of the code, from low to high",
    "interpolations": "from one image to another through their codes",
    "translations": "images, their translations, and what comes back",
}


def pictures(galleries: Sequence[Gallery]) -> Safe:
    """The tabs and their panels; without the script all panels are open, one under the other."""
    shown = [gallery for gallery in galleries if gallery.films or gallery.damaged]
    if not shown:
        return Safe("")
    tabs = (
        tag("button", _title(gallery.kind), type="button", role="tab", id=f"tab-{i}",
            aria_controls=f"panel-{i}", aria_selected="false" if i else "true",
            tabindex=-1 if i else 0)
        for i, gallery in enumerate(shown)
    )  # fmt: skip
    bar = tag("div", *tabs, role="tablist", aria_label="Kinds of pictures", class_="tabs")
    panels = (_panel(i, gallery) for i, gallery in enumerate(shown))
    return section("Pictures", bar, *panels, id_="pictures")


def _title(kind: str) -> str:
    return _TITLES.get(kind, kind.replace("_", " ").capitalize())


def _panel(index: int, gallery: Gallery) -> Safe:
    title, films = _title(gallery.kind), gallery.films
    legend = _LEGENDS.get(gallery.kind)
    about = [f"{legend[0].upper()}{legend[1:]}."] if legend else []
    if gallery.left_out:
        about.append(f"Of the best runs; {_more(gallery.left_out)} with such pictures not shown.")
    about += [f"{file}: damaged, not shown." for file in gallery.damaged]
    cards = [_card(title, film) for film in films]
    more = cards[_SHOWN:]
    return tag(
        "div",
        tag("h3", title),
        tag("p", " ".join(about), class_="note") if about else None,
        _slider(index, gallery.steps) if len(gallery.steps) > 1 else None,
        tag("div", *cards[:_SHOWN], class_="films single" if len(cards) == 1 else "films"),
        details(_more(len(more)), tag("div", *more, class_="films")) if more else None,
        role="tabpanel", id=f"panel-{index}", aria_labelledby=f"tab-{index}", class_="panel",
    )  # fmt: skip


def _slider(index: int, steps: Sequence[int]) -> Safe:
    """Over the gallery's steps; arrow keys, Home and End move it."""
    last = len(steps) - 1
    return tag(
        "div",
        tag("label", "Step", for_=f"slider-{index}"),
        tag("input", type="range", id=f"slider-{index}", min=0, max=last, value=last, step=1,
            data_steps=" ".join(map(str, steps)), aria_valuetext=f"step {steps[-1]:,}"),
        tag("output", f"{steps[-1]:,}", for_=f"slider-{index}"),
        class_="slider",
    )  # fmt: skip


def _card(title: str, film: Film) -> Safe:
    """The last frame is shown until the slider moves."""
    last = film.frames[-1]
    same = f" and {_more(film.same - 1)}, the same in all" if film.same > 1 else ""
    frames = (_image(title, film, frame, frame is last) for frame in film.frames)
    caption = tag(
        "figcaption", f"{film.label}{same}, step ",
        tag("span", f"{last.step:,}", class_="at"),
    )  # fmt: skip
    return tag("figure", tag("div", join(frames), class_="frames"), caption, class_="film")


def _more(count: int) -> str:
    return "1 more run" if count == 1 else f"{count} more runs"


def _image(title: str, film: Film, frame: Frame, shown: bool) -> Safe:
    return tag(
        "img", src=frame.source, width=frame.width, height=frame.height, data_step=frame.step,
        alt=f"{title} of {film.label} at step {frame.step:,}", class_="on" if shown else None,
        decoding="async",
    )  # fmt: skip
