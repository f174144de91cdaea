"""The questions as message boxes: which button gives which answer, in every language."""

import pytest


@pytest.fixture
def in_earnest(slicer_app, scene, monkeypatch):
    """Slicer as it is when nobody tests it: only then does it ask."""
    monkeypatch.setattr(type(slicer_app), "testingEnabled", lambda _self: False)


@pytest.fixture
def click(slicer_app):
    """A function that clicks the button of this text in the message box that opens next."""
    import qt

    seen, timers = [], []

    def click_next(text):
        def look():
            box = slicer_app.activeModalWidget()
            if box is not None:
                timer.stop()
                seen.append(box.text)
                buttons = {button.text.replace("&", ""): button for button in box.buttons()}
                buttons[text].click()

        timer = qt.QTimer()
        timers.append(timer)
        timer.connect("timeout()", look)
        timer.start(10)
        return seen

    yield click_next
    for timer in timers:
        timer.stop()


@pytest.mark.parametrize(("button", "answer"), [("Replace", "replace"), ("Write beside", "beside"), ("Cancel", None)])
def test_each_button_gives_its_own_answer(in_earnest, click, button, answer):
    from AutoMedSAMLib.panel import questions

    seen = click(button)
    assert questions.replace_or_beside("FLAIR") == answer
    assert seen[0].startswith("Replace the result of FLAIR?")


def test_answers_are_the_same_in_another_language(in_earnest, click):
    from AutoMedSAMLib.panel import questions
    from harness.translation import made_up_language

    with made_up_language(frozenset({"panel.questions"})):
        seen = click("«Replace»")
        assert questions.replace_or_beside("FLAIR") == "replace"
        click("«Undo run»")
        assert questions.may_undo_edits(3)
        click("Cancel")
        assert not questions.may_empty()
    assert seen[0].startswith("«Replace the result of FLAIR?")
    assert seen[1].startswith("«3 slices were edited")


def test_nothing_is_asked_while_slicer_runs_its_tests(scene):
    from AutoMedSAMLib.panel import questions

    assert questions.replace_or_beside("FLAIR") == "beside"
    assert not questions.may_empty() and not questions.may_undo_edits(2)
