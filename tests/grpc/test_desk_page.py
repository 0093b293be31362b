"""The page in a real browser, Chromium without a window, before a pretended camera and two real servers.

Screenshots go to $PURA_SCREENSHOTS, else to a temporary folder.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from desk_process import Desk, desk, faces_deployment, upload
from orl_pictures import film, group, jpeg, need_faces, picture

from pura_desk.tokens import Right, add

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = "4.14.1"
AXE_SHA512 = (
    "1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b73"
    "4f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5"
)
MS = 300_000
"""For anything that the page waits for."""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A desk before an empty gallery."""
    need_faces()
    made = faces_deployment(tmp_path_factory.mktemp("page") / "deployment")
    made.start()
    try:
        with desk(made) as here:
            yield here
    finally:
        assert made.stop() == [0, 0]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """With a camera that always sees one photo of the first person."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here")
    need_faces()
    seen = tmp_path_factory.mktemp("camera") / "camera.y4m"
    film(seen, picture(0, 5))
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
                f"--use-file-for-fake-video-capture={seen}",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            ],
        )
        yield made
        made.close()


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(os.environ.get("PURA_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def page(browser: Browser, opened: Desk) -> Iterator[Page]:
    """The page on a desktop; whatever it asked for was the desk's, and it logged no error."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, permissions=["camera"])
    context.set_default_timeout(MS)
    asked: list[str] = []
    errors: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    made = context.new_page()
    made.on("pageerror", lambda error: errors.append(str(error)))
    made.goto(opened.url)
    made.locator("#status[data-state=ready]").wait_for()
    yield made
    context.close()
    elsewhere = [url for url in asked if not url.startswith((f"{opened.url}/", f"blob:{opened.url}/"))]
    assert elsewhere == []
    assert errors == []


def photos(*shown: tuple[int, int]) -> list[dict[str, object]]:
    """Files for the button that chooses them."""
    return [
        {"name": f"{i}.jpg", "mimeType": "image/jpeg", "buffer": jpeg(picture(person, photo))}
        for i, (person, photo) in enumerate(shown)
    ]


def test_enrol_be_recognised_be_forgotten(page: Page, shots: Path) -> None:
    page.screenshot(path=shots / "empty.png", full_page=True)
    answer = page.locator("#answer")

    page.get_by_role("tab", name="Enrol").click()
    page.locator("#choose").set_input_files(photos((0, 0), (0, 1), (0, 2)))  # type: ignore[arg-type]
    page.get_by_text("One face, ").first.wait_for()
    page.get_by_label("Name", exact=True).fill("Ada Lovelace")
    page.screenshot(path=shots / "enrol.png", full_page=True)
    page.get_by_role("button", name="Enrol", exact=True).click()
    answer.get_by_text("Enrolled Ada Lovelace, the mean of 3 photos").wait_for()
    page.get_by_role("row", name="Ada Lovelace").wait_for()

    page.get_by_role("tab", name="Identify").click()
    page.get_by_role("button", name="Start camera").click()
    page.locator("#boxes .box").first.wait_for()
    page.screenshot(path=shots / "camera.png", full_page=True)
    page.get_by_role("button", name="Who is this?").click()
    answer.get_by_text("Ada Lovelace").wait_for()
    page.get_by_text("What left this machine").wait_for()
    page.screenshot(path=shots / "identified.png", full_page=True)

    page.get_by_role("button", name="Clear").click()
    page.locator("#choose").set_input_files(photos((20, 0)))  # type: ignore[arg-type]
    page.get_by_role("button", name="Who is this?").click()
    answer.get_by_text("nobody who is enrolled").wait_for()

    page.get_by_role("button", name="Forget Ada Lovelace").click()
    page.screenshot(path=shots / "forget.png")
    page.get_by_role("dialog").get_by_role("button", name="Forget").click()
    answer.get_by_text("Forgot Ada Lovelace: 1 entry erased").wait_for()
    page.get_by_text("Nobody is enrolled yet.").wait_for()
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name="Start camera").click()
    page.get_by_role("button", name="Who is this?").click()
    answer.get_by_text("nobody who is enrolled").wait_for()


def test_the_live_view_says_who_is_there_and_asks_once(page: Page, opened: Desk, shots: Path) -> None:
    enrolled(opened, {"Ada Lovelace": 0})
    page.get_by_role("button", name="Start camera").click()
    page.get_by_role("button", name="Recognise live").click()
    page.locator("#live-people").get_by_text("This is Ada Lovelace").wait_for()
    page.wait_for_function("document.getElementById('live-rate').textContent.includes('1 question,')")
    page.screenshot(path=shots / "live.png", full_page=True)
    page.get_by_role("button", name="Stop recognising").click()
    page.get_by_role("button", name="Recognise live").wait_for()
    assert page.locator("#live-people li").count() <= 1


def test_verify_a_group_and_what_goes_wrong(page: Page, opened: Desk, shots: Path) -> None:
    enrolled(opened, {"Grace Hopper": 1, "Alan Turing": 2})
    page.get_by_role("button", name="Refresh").click()
    page.get_by_text("2 people").wait_for()
    answer = page.locator("#answer")

    page.get_by_role("button", name="Who is this?").click()
    answer.get_by_text("Start the camera or choose a photo first.").wait_for()

    row = group([(1, 4), (20, 0), (2, 5)])
    page.locator("#choose").set_input_files([{"name": "g.jpg", "mimeType": "image/jpeg", "buffer": jpeg(row)}])
    page.get_by_role("button", name="Who is this?").click()
    answer.get_by_text("Grace Hopper").wait_for()
    said = answer.inner_text()
    assert "Alan Turing" in said
    assert said.count("nobody who is enrolled") == 1
    assert page.locator("#boxes .box").count() == 3
    assert page.locator("#boxes .box.match").count() == 2
    page.screenshot(path=shots / "group.png", full_page=True)

    page.get_by_role("tab", name="Enrol").click()
    page.get_by_label("Name", exact=True).fill("Three at once")
    page.get_by_role("button", name="Enrol", exact=True).click()
    answer.get_by_text("There are several faces on a photo.").wait_for()
    answer.get_by_text("several_faces").wait_for()
    page.screenshot(path=shots / "refused.png", full_page=True)

    page.get_by_role("button", name="Clear").click()
    page.locator("#choose").set_input_files(photos((1, 6)))  # type: ignore[arg-type]
    page.get_by_role("tab", name="Verify").click()
    for name, line in (
        ("Grace Hopper", "Yes, this is Grace Hopper"),
        ("Alan Turing", "No, this is not Alan Turing"),
        ("Nobody at all", "Nobody is enrolled under this label."),
    ):
        page.get_by_label("Who it should be").fill(name)
        page.get_by_role("button", name="Is it?").click()
        answer.get_by_text(line).wait_for()

    page.locator("#choose").set_input_files([{"name": "x.jpg", "mimeType": "image/jpeg", "buffer": b"no picture"}])
    page.locator("#faces").get_by_text("could not be read").wait_for()

    page.get_by_role("button", name="Rename Grace Hopper").click()
    page.get_by_label("Other name").fill("Alan Turing")
    page.screenshot(path=shots / "rename.png")
    page.get_by_role("dialog").get_by_role("button", name="Rename").click()
    answer.get_by_text("Grace Hopper is Alan Turing now.").wait_for()
    page.get_by_role("row", name="Alan Turing 2").wait_for()
    page.get_by_role("searchbox").fill("nobody")
    page.get_by_text("Nobody of that name.").wait_for()
    page.get_by_role("searchbox").fill("TURING")
    page.get_by_text("1 person").wait_for()


def test_by_keyboard_alone(page: Page, opened: Desk) -> None:
    """Everything from the first Tab on; a focus that is not seen, or lost, would end this."""
    answer = page.locator("#answer")

    def to(name: str, role: str = "button") -> None:
        """Tab on until that has the focus, which can be seen."""
        wanted = page.get_by_role(role, name=name, exact=True)  # type: ignore[arg-type]
        for _ in range(60):
            page.keyboard.press("Tab")
            if wanted.evaluate("one => one === document.activeElement"):
                outline = wanted.evaluate("one => getComputedStyle(one).outlineStyle")
                assert outline != "none"
                return
        raise AssertionError(f"{name} is not reached")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the picture"
    page.keyboard.press("Enter")
    to("Start camera")
    page.keyboard.press("Enter")
    page.locator("#boxes .box").first.wait_for()
    to("Identify", "tab")
    page.keyboard.press("End")
    page.keyboard.press("Tab")
    page.keyboard.type("Key Board")
    page.keyboard.press("Enter")
    answer.get_by_text("Enrolled Key Board").wait_for()
    to("Start camera")
    page.keyboard.press("Enter")
    to("Enrol", "tab")
    page.keyboard.press("ArrowRight")  # round to the first one
    to("Who is this?")
    page.keyboard.press("Enter")
    answer.get_by_text("Key Board").wait_for()
    to("Forget Key Board")
    page.keyboard.press("Space")
    page.keyboard.press("Escape")
    assert "Key Board" in opened.http.get("/v1/subjects").text
    to("Forget Key Board")
    page.keyboard.press("Enter")
    to("Forget")
    page.keyboard.press("Enter")
    answer.get_by_text("Forgot Key Board").wait_for()
    assert page.evaluate("document.activeElement.id") == "search"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(browser: Browser, opened: Desk, shots: Path, scheme: str) -> None:
    """390 pixels wide: nothing is cut off or needs to be pushed sideways."""
    enrolled(opened, {"Somebody with a very long name, as some people have, indeed": 3})
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True)  # type: ignore[arg-type]
    context.set_default_timeout(MS)
    page = context.new_page()
    page.goto(opened.url)
    page.locator("#status[data-state=ready]").wait_for()
    page.locator("#choose").set_input_files(photos((3, 4), (20, 1)))  # type: ignore[arg-type]
    page.get_by_role("button", name="Who is this?").click()
    page.locator("#answer").get_by_text("Somebody with").wait_for()
    page.get_by_role("button", name="Forget Somebody").wait_for()
    wide = page.evaluate("document.documentElement.scrollWidth")
    page.screenshot(path=shots / f"phone-{scheme}.png", full_page=True)
    context.close()
    assert wide == 390


def test_in_the_dark(browser: Browser, opened: Desk, shots: Path) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="dark")
    context.set_default_timeout(MS)
    page = context.new_page()
    page.goto(opened.url)
    page.locator("#status[data-state=ready]").wait_for()
    two = jpeg(group([(1, 4), (20, 0)]))
    page.locator("#choose").set_input_files([{"name": "g.jpg", "mimeType": "image/jpeg", "buffer": two}])
    page.get_by_role("button", name="Who is this?").click()
    page.get_by_text("What left this machine").wait_for()
    page.screenshot(path=shots / "dark.png", full_page=True)
    page.goto(f"{opened.url}/api")
    page.get_by_text("/v1/identify").first.wait_for()
    page.screenshot(path=shots / "api-dark.png")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    context.close()
    assert max(map(int, background.removeprefix("rgb(").removesuffix(")").split(","))) < 64


def test_a_folder_and_a_reload(page: Page, opened: Desk, tmp_path: Path, shots: Path) -> None:
    """The desk goes on with what it has when the page is loaded again, and the page shows how far it is."""
    folder = tmp_path / "staff"
    for person in range(30, 36):
        (folder / f"Number {person}").mkdir(parents=True)
        for photo in range(2):
            (folder / f"Number {person}" / f"{photo}.jpg").write_bytes(jpeg(picture(person, photo)))
    (folder / "notes.txt").write_text("no photo")
    (folder / "Number 30" / "bad.jpg").write_bytes(b"no photo")
    page.get_by_role("tab", name="Enrol").click()
    page.locator("#folder").set_input_files(folder)
    progress = page.get_by_role("progressbar", name="Import of staff")
    progress.wait_for()
    page.locator("#imports").get_by_text("enrolling").or_(page.locator("#imports").get_by_text("done")).wait_for()
    page.reload()
    page.locator("#status[data-state=ready]").wait_for()
    page.get_by_role("tab", name="Enrol").click()
    page.get_by_text("6 of 6 people: 6 enrolled, 0 were there already, 1 photo left out").wait_for()
    page.locator("summary").click()
    page.get_by_text("Number 30, bad.jpg").wait_for()
    page.screenshot(path=shots / "folder.png", full_page=True)
    page.get_by_role("searchbox").fill("Number")
    page.get_by_text("6 people", exact=True).wait_for()
    for person in range(30, 36):
        assert opened.http.delete(f"/v1/subjects/Number {person}").status_code == 200


def test_the_page_asks_for_a_token(browser: Browser, opened: Desk, tmp_path: Path, shots: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    token = add(tokens, "door", frozenset({Right.ASK}))
    with desk(opened.made, "--tokens", str(tokens)) as here:
        context = browser.new_context()
        context.set_default_timeout(MS)
        page = context.new_page()
        page.goto(here.url)
        page.get_by_text("A token, please").wait_for()
        page.screenshot(path=shots / "token.png")
        page.get_by_role("textbox", name="Token").fill(token)
        page.get_by_role("button", name="Use it").click()
        page.locator("#status[data-state=ready]").wait_for()
        assert page.get_by_role("tab").all_inner_texts() == ["Identify", "Verify"]
        assert not page.locator("#people").is_visible()
        context.close()


@pytest.mark.network
def test_nothing_is_found_by_axe(page: Page, opened: Desk, tmp_path: Path) -> None:
    """axe-core, in the browser, on every state of the page."""
    axe = axe_core(tmp_path)
    enrolled(opened, {"Ada Lovelace": 0})
    page.get_by_role("button", name="Refresh").click()

    def clean(where: str) -> None:
        page.evaluate(axe)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        assert [(one["id"], [node["target"] for node in one["nodes"]]) for one in found] == [], where

    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        clean(f"empty, {scheme}")
        page.locator("#choose").set_input_files(photos((0, 6), (0, 7)))  # type: ignore[arg-type]
        page.get_by_role("tab", name="Identify").click()
        page.get_by_role("button", name="Who is this?").click()
        page.get_by_text("What left this machine").wait_for()
        clean(f"answered, {scheme}")
        page.get_by_role("tab", name="Enrol").click()
        clean(f"enrol, {scheme}")
        page.get_by_role("button", name="Forget Ada Lovelace").click()
        clean(f"dialog, {scheme}")
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Clear").click()
    page.goto(f"{opened.url}/api")
    page.get_by_text("/v1/identify").first.wait_for()
    clean("api, dark")


# --- parts ----------------------------------------------------------------------------------------


def enrolled(opened: Desk, people: dict[str, int]) -> None:
    """These, and nobody else."""
    for one in opened.http.get("/v1/entries").json()["entries"]:
        assert opened.http.delete(f"/v1/entries/{one['entry']}").status_code == 200
    for label, person in people.items():
        files = upload("photos", [jpeg(picture(person, photo)) for photo in range(3)])
        assert opened.http.post("/v1/entries", data={"label": label}, files=files).status_code == 201


def axe_core(folder: Path) -> str:
    """The script, from npm: it is used here, and neither installed nor shipped."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm here")
    command = [npm, "pack", f"axe-core@{AXE}", "--silent"]
    got = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=120)
    archive = folder / f"axe-core-{AXE}.tgz"
    if got.returncode != 0 or not archive.exists():
        pytest.skip("axe-core could not be fetched from npm")
    body = archive.read_bytes()
    assert hashlib.sha512(body).hexdigest() == AXE_SHA512
    with tarfile.open(fileobj=io.BytesIO(body)) as files:
        script = files.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()
