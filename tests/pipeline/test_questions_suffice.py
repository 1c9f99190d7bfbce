"""Every shipped recipe finds as many questions as it asks for: how many a split has depends on how it was drawn."""

from pathlib import Path

import pytest

from deepseek_lab.command_line.composition import composer_of
from deepseek_lab.command_line.naming import register_resolvers
from deepseek_lab.data.worked_problems import dealt
from deepseek_lab.experiment.configs import read_configs, task_of
from deepseek_lab.pipeline.checking import read_recipe
from deepseek_lab.pipeline.recipe import Measurement

SHIPPED = sorted(file.stem for file in (Path(__file__).resolve().parents[2] / "conf" / "recipe").glob("*.yaml"))


def measurements(recipe: str) -> list[Measurement]:
    with composer_of("pipeline") as composer:
        return list(read_recipe(composer.compose([f"recipe={recipe}"])).tests.values())


@pytest.mark.parametrize("recipe", SHIPPED)
def test_every_measurement_has_its_questions(recipe):
    register_resolvers()
    made = measurements(recipe)
    with composer_of("evaluate") as composer:
        configs = [composer.compose(["checkpoint=run", *test.overrides]) for test in made]
    asked = [cfg for cfg in configs if cfg.what == "task"]
    assert asked, "a recipe asks its questions"
    for cfg in asked:
        found = task_of(cfg).examples(cfg.split, cfg.attempts.questions)
        assert len(found) == cfg.attempts.questions


def test_a_base_has_the_worked_problems_it_is_taught():
    register_resolvers()
    with composer_of("train") as composer:
        corpus = read_configs(composer.compose(["experiment=mini_r1_base"])).data.corpus
    assert len(dealt(corpus.tasks, corpus.n_questions)) == len(corpus.tasks) * corpus.n_questions
