"""Terms of model weights: asked for once, before the first use, and never of a script."""

import logging

import pytest

pytest_plugins = ["panel_fixtures"]


@pytest.fixture
def answers(monkeypatch, slicer_app):
    """What a person answers to the terms, and which they were shown; nothing was accepted before."""
    from AutoMedSAMLib.panel import questions
    from AutoMedSAMLib.scene import terms

    slicer_app.userSettings().remove("AutoMedSAM/AcceptedTerms")
    terms._logged.clear()

    class Answers:
        accepts, shown = True, []

    def asked(model, _parent=None):
        Answers.shown.append(model.terms)
        return Answers.accepts

    Answers.shown = []
    monkeypatch.setattr(questions, "accepts_terms", asked)
    yield Answers
    slicer_app.userSettings().remove("AutoMedSAM/AcceptedTerms")


def test_first_apply_shows_the_terms_and_the_next_session_does_not(answers, ready, module):
    ready.ui.applyButton.click()
    assert answers.shown == [ready.inputs.model.terms] and "no commercial use" in answers.shown[0]
    assert ready.logic.is_running
    another = module.open_panel()
    another.widget.ui.applyButton.click()
    assert len(answers.shown) == 1
    another.close()


def test_declined_terms_run_nothing_and_are_asked_again(answers, ready):
    answers.accepts = False
    ready.ui.applyButton.click()
    assert ready.logic.request is None and "not accepted" in ready.ui.statusLabel.text
    ready.run_panel._changed = 0
    ready.ui.applyButton.click()
    assert len(answers.shown) == 2


def test_new_version_or_other_terms_are_asked_for_again(answers):
    from dataclasses import replace

    from AutoMedSAMLib.model.bundle_info import find_model
    from AutoMedSAMLib.scene import terms

    model = find_model("glioma")
    terms.accept(model)
    assert not terms.must_be_shown(model)
    assert terms.must_be_shown(replace(model, version="9.9"))
    assert terms.must_be_shown(replace(model, terms=model.terms + " No redistribution."))
    assert not terms.must_be_shown(replace(model, version="9.9", terms="Apache-2.0"))


def test_script_is_not_asked_and_its_log_names_the_terms_once(answers, module_logic, add_volume, caplog, monkeypatch):
    import numpy as np

    node = add_volume(np.zeros((4, 8, 8), np.int16), name="FLAIR")
    monkeypatch.setattr(type(module_logic), "start", lambda _self, _request, waiting: waiting.on_finished(_done()))
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            with pytest.raises(Exception, match="stopped"):
                module_logic.process(node)
    assert answers.shown == []
    assert sum("Terms of the weights of glioma" in record.message for record in caplog.records) == 1


def _done():
    from AutoMedSAMLib.model.run import Outcome

    return Outcome("cancelled", "The run was stopped.")
