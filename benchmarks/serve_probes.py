"""Run every probe of the server's audit again, as one run.

    python benchmarks/serve_probes.py              # all, some minutes
    python benchmarks/serve_probes.py gRPC TLS     # some areas

A probe is one test case: of the tests of ``tests/serve`` that every change runs, and of ``tests/serve/probes.py``, which
costs too much for that. The table below says which cases belong to which line of the audit, and how bad a fault there
would be. Prints how many held, and those that did not by their severity; ends with 1 where one above "low" did not.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SEVERITIES = ("critical", "high", "medium", "low")


@dataclass(frozen=True, slots=True)
class Probe:
    """A line of the audit.

    Attributes:
        area: Of the server.
        severity: How bad a fault would be.
        asks: What is tried.
        tests: ``FILE::TEST`` or ``FILE::TEST[CASE]`` below ``tests``; without a case all of them count.
    """

    area: str
    severity: str
    asks: str
    tests: tuple[str, ...]


def _of(area: str, severity: str, asks: str, *tests: str) -> Probe:
    return Probe(area, severity, asks, tests)


# fmt: off
# ruff: noqa: E501 - a line is a line of the audit
PROBES = (
    _of("HTTP", "critical", "bytes of a body, or half of a head, are taken for a request", "serve/test_http.py::test_bytes_of_a_body_are_never_a_request", "serve/test_http.py::test_half_of_a_head_is_never_remembered", "serve/test_connection.py::test_a_body_that_looks_like_the_end_of_a_head", "serve/test_connection.py::test_the_same_head_again_with_other_bodies", "serve/test_connection.py::test_heads_that_differ_are_told_apart"),
    _of("HTTP", "critical", "trailers become headers, or never end", "serve/test_http.py::test_trailers_do_not_become_headers", "serve/test_http.py::test_trailers_are_bounded"),
    _of("HTTP", "high", "the table of odd and wrong requests", "serve/test_http.py::test_request"),
    _of("HTTP", "high", "pipelining: order, bursts, answers that nobody reads", "serve/test_http.py::test_pipelined_requests_are_answered_in_their_order", "serve/test_http.py::test_a_burst_of_requests_does_not_hold_others", "serve/test_http.py::test_reading_is_paused_while_answers_are_not_taken", "serve/test_connection.py::test_pipelined_in_one_piece", "serve/test_connection.py::test_pipelined_behind_a_slow_one", "serve/test_connection.py::test_many_connections_never_get_each_others_answers"),
    _of("HTTP", "medium", "upgrades, h2 and h2c, curl in every version", "serve/test_http.py::test_a_body_behind_an_upgrade_arrives", "serve/test_security.py::test_http2_when_asked_for", "serve/probes.py::test_curl"),
    _of("HTTP", "medium", "odd bodies and heads that come again", "serve/test_connection.py::test_binary_in_chunks", "serve/test_connection.py::test_one_byte_at_a_time", "serve/test_connection.py::test_expect_continue_every_time", "serve/test_connection.py::test_expect_continue_by_a_client_that_does_not_wait", "serve/test_connection.py::test_a_binary_header_seen_before_excuses_nothing", "serve/test_bad_input.py::test_not_http", "serve/test_bad_input.py::test_paths_and_methods", "serve/test_bad_input.py::test_a_compressed_body_is_refused", "serve/test_bad_input.py::test_bad_header_lengths"),
    _of("HTTP", "low", "HTTP/1.0 keeps its connection when asked to", "serve/test_connection.py::test_http_1_0_closes_unless_asked_to_keep"),
    _of("slow clients", "high", "heads, bodies and chunk extensions that do not come to an end", "serve/test_limits.py::test_slow_headers_and_bodies", "serve/probes.py::test_half_a_head_is_held_no_longer_behind_a_whole_one", "serve/probes.py::test_a_chunk_extension_that_never_ends", "serve/test_limits.py::test_slow_clients_do_not_stop_others"),
    _of("slow clients", "high", "clients that do not read, or leave", "serve/test_limits.py::test_a_client_that_does_not_read_is_cut_off", "serve/test_connection.py::test_an_answer_larger_than_the_sockets_buffer", "serve/test_operations.py::test_a_connection_that_goes_away_while_waiting", "serve/test_connection.py::test_a_client_that_stops_sending_is_taken_for_gone"),
    _of("limits", "high", "connections, requests, memory, bodies, elements, pixels", "serve/test_limits.py::test_connections", "serve/test_limits.py::test_requests_in_all", "serve/test_limits.py::test_requests_of_one_client", "serve/test_limits.py::test_memory", "serve/test_limits.py::test_body", "serve/test_limits.py::test_elements", "serve/test_limits.py::test_pixels", "serve/test_limits.py::test_pictures", "serve/test_limits.py::test_json_depth", "serve/test_limits.py::test_headers", "serve/test_limits.py::test_json_has_a_bound_of_its_own"),
    _of("limits", "medium", "few descriptors, 10,000 connections, 10,000 different heads", "serve/probes.py::test_few_descriptors", "serve/probes.py::test_ten_thousand_short_connections", "serve/probes.py::test_heads_that_all_differ_are_not_kept"),
    _of("bodies", "high", "JSON of the largest size, of every kind", "serve/probes.py::test_json_of_the_largest_size", "serve/test_faults.py::test_json_of_the_largest_size_does_not_hold_others"),
    _of("bodies", "high", "documents and tensors that do not fit", "serve/test_bad_input.py::test_bad_documents", "serve/test_bad_input.py::test_binary_data_that_does_not_fit", "serve/test_bad_input.py::test_a_model_of_several_inputs", "serve/test_fuzz.py::test_a_short_fuzz"),
    _of("bodies", "high", "hostile forms", "serve/probes.py::test_hostile_forms", "serve/test_bad_input.py::test_bad_pictures"),
    _of("pictures", "critical", "strips, scans and icons that are small as files and large in memory", "serve/test_bad_input.py::test_a_long_strip_is_refused_before_it_is_decoded", "digits/test_pictures.py::test_a_long_thin_picture_of_few_bytes_is_refused", "digits/test_pictures.py::test_a_progressive_jpeg_of_hundreds_of_scans_is_refused", "digits/test_pictures.py::test_an_icon_is_measured_before_it_is_decoded", "digits/test_pictures.py::test_decoders_that_hold_more_get_smaller_limits"),
    _of("pictures", "high", "the largest pictures, and those that nobody waits for", "serve/probes.py::test_the_largest_pictures_do_not_hold_others", "serve/test_faults.py::test_expired_pictures_are_not_decoded"),
    _of("pictures", "high", "formats that are not served, by their content", "serve/probes.py::test_unwanted_formats_by_content", "serve/probes.py::test_unwanted_formats_that_pillow_reads"),
    _of("pictures", "medium", "damaged pictures, noise, a page full of dots", "serve/test_bad_input.py::test_damaged_and_empty_pictures", "digits/test_pictures.py::test_truncated_files", "digits/test_numbers.py::test_noise_is_refused_at_once", "serve/probes.py::test_a_page_full_of_dots_is_read_in_linear_time"),
    _of("access", "critical", "the token, before the body and read again", "serve/test_operations.py::test_token", "serve/test_security.py::test_the_token_comes_before_the_body", "serve/test_security.py::test_the_token_is_read_again_on_sighup"),
    _of("access", "high", "Host and Origin: rebinding, cross-site posts, preflights", "serve/test_security.py::test_loopback_names_are_served_by_default", "serve/test_security.py::test_other_names_are_refused", "serve/test_security.py::test_allowed_hosts", "serve/test_security.py::test_a_page_of_another_site_cannot_post", "serve/test_security.py::test_the_servers_own_page_can_post", "serve/test_security.py::test_a_private_network_preflight", "serve/test_operations.py::test_cors", "serve/test_operations.py::test_cors_is_off_by_default", "serve/test_operations.py::test_it_listens_on_loopback_alone"),
    _of("access", "high", "who may load and unload models", "serve/test_repository.py::test_who_may_load_and_unload"),
    _of("access", "low", "what is told without a token, nosniff", "serve/test_security.py::test_names_of_models_need_the_token", "serve/test_security.py::test_no_path_of_the_server_is_told", "serve/test_security.py::test_nosniff_on_everything"),
    _of("TLS", "high", "connections without a handshake, client certificates", "serve/test_security.py::test_connections_without_a_handshake_take_no_place", "serve/test_security.py::test_client_certificates"),
    _of("TLS", "medium", "versions, HTTP/2, certificates read again", "serve/probes.py::test_old_tls_is_refused", "serve/probes.py::test_http_2_is_offered_over_tls_when_asked_for", "serve/test_security.py::test_certificates_are_read_again_on_sighup", "serve/test_operations.py::test_tls"),
    _of("gRPC", "critical", "150 streams that send nothing", "serve/test_security.py::test_grpc_streams_without_a_token_take_no_place"),
    _of("gRPC", "high", "large messages without a token, bad messages", "serve/probes.py::test_a_large_grpc_message_without_a_token_costs_little", "serve/probes.py::test_bad_grpc_messages", "serve/probes.py::test_http_1_on_the_grpc_port"),
    _of("gRPC", "low", "names, log, health, reflection", "serve/test_security.py::test_grpc_names_need_the_token_and_calls_are_logged", "serve/test_security.py::test_grpc_health_and_reflection"),
    _of("signals", "high", "SIGHUP at any moment, a hundred of them, bad files", "serve/test_faults.py::test_sighup_while_it_starts", "serve/probes.py::test_a_hundred_hangups", "serve/test_operations.py::test_a_bad_file_on_reload_leaves_the_old_model_serving", "serve/test_operations.py::test_reload_swaps_under_load", "serve/test_faults.py::test_a_fifo_is_no_model"),
    _of("signals", "high", "SIGTERM: nothing lost, nothing held", "serve/test_operations.py::test_sigterm_under_load_loses_no_request", "serve/test_operations.py::test_sigterm_waits_for_what_is_running", "serve/test_operations.py::test_a_second_signal_cuts_the_waiting_short", "serve/test_faults.py::test_a_stop_does_not_wait_for_a_thread_for_ever"),
    _of("workers", "high", "workers that die or cannot start", "serve/test_faults.py::test_a_worker_that_cannot_start_waits_ever_longer_and_leaves_the_others_alone", "serve/test_faults.py::test_workers_that_die_again_and_again", "serve/test_operations.py::test_workers_survive_the_death_of_one", "serve/test_operations.py::test_new_connections_go_to_the_workers_that_live", "serve/test_operations.py::test_workers_stop_when_their_parent_is_killed"),
    _of("disk and log", "high", "full disks, pipes that nobody reads, a closed stderr", "serve/test_faults.py::test_the_clock_survives_a_temporary_folder_that_is_gone", "serve/test_faults.py::test_a_log_on_a_full_disk", "serve/test_faults.py::test_the_log_comes_back_when_there_is_room", "serve/test_faults.py::test_the_log_is_reopened_on_sigusr1", "serve/test_faults.py::test_a_log_that_nobody_reads_holds_nobody_up", "serve/probes.py::test_stderr_that_is_closed"),
    _of("disk and log", "medium", "refused requests and hostile texts in the log", "serve/test_security.py::test_refused_requests_are_logged_too", "serve/test_security.py::test_request_ids", "serve/test_operations.py::test_the_access_log_is_json_lines"),
    _of("models", "high", "weights elsewhere, unknown operators, other outputs", "serve/probes.py::test_weights_outside_of_the_models_folder", "serve/probes.py::test_an_unknown_operator_is_refused", "serve/probes.py::test_a_model_of_other_outputs_reads_no_pictures"),
    _of("models", "high", "metadata that unpacks to much, or is damaged", "core/test_golden.py::test_a_golden_bomb_is_not_unpacked", "core/test_golden.py::test_many_small_golden_bombs_are_not_unpacked_either", "serve/probes.py::test_damaged_metadata_is_one_line", "serve/probes.py::test_odd_texts_in_metadata_do_not_disturb_the_metrics"),
    _of("models", "high", "models of another origin: cost that depends on values, paths in errors", "serve/test_faults.py::test_models_of_another_origin_never_run_in_the_event_loop", "serve/test_bad_input.py::test_what_onnxruntime_refuses_is_the_clients_fault"),
    _of("time", "high", "deadlines over queue, compute and parts", "serve/test_operations.py::test_the_deadline_covers_queue_and_compute", "serve/test_operations.py::test_what_does_not_finish_in_time_is_given_up", "serve/test_operations.py::test_a_full_queue_gives_429_and_health_stays", "serve/test_faults.py::test_a_large_request_runs_in_parts"),
    _of("configuration", "medium", "wrong flags, variables and files", "serve/test_limits.py::test_a_server_that_cannot_start_says_why", "serve/test_settings.py"),
)
# fmt: on


def main() -> int:
    """Run and count."""
    areas = list(dict.fromkeys(probe.area for probe in PROBES))
    parser = argparse.ArgumentParser(description="Run the audit's probes again.", epilog=f"Areas: {', '.join(areas)}.")
    parser.add_argument("areas", nargs="*", metavar="AREA", help="run these alone")
    parser.add_argument("--processes", type=int, default=1, help="run that many at a time (needs pytest-xdist)")
    options = parser.parse_args()
    if unknown := set(options.areas) - set(areas):
        parser.error(f"no area {', '.join(sorted(unknown))}; there are {', '.join(areas)}")
    chosen = [probe for probe in PROBES if not options.areas or probe.area in options.areas]
    outcomes = Outcomes()
    tests = [f"{ROOT / 'tests'}/{test}" for probe in chosen for test in probe.tests]
    how = ["-q", "-p", "no:cacheprovider", "--rootdir", str(ROOT)]
    if options.processes > 1:
        how += ["-n", str(options.processes), "--dist", "loadfile"]
    ended = pytest.main([*how, *dict.fromkeys(tests)], plugins=[outcomes])
    if ended not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
        return int(ended)
    return report(chosen, outcomes.of)


class Outcomes:
    """A plugin that notes of every case whether it passed."""

    def __init__(self) -> None:
        self.of: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a phase of a case: the worst of its three phases counts."""
        name = report.nodeid.removeprefix("tests/")
        if report.failed or report.skipped or name not in self.of:
            self.of[name] = report.outcome


def report(probes: list[Probe], outcomes: dict[str, str]) -> int:
    """Print the table; 1 where a probe above "low" did not hold, or was not run."""
    held: Counter[str] = Counter()
    left: list[tuple[str, str]] = []
    for probe in probes:
        for test in probe.tests:
            cases = [name for name in outcomes if name == test or name.startswith((f"{test}[", f"{test}::"))]
            if not cases:
                left.append((probe.severity, f"{test}: not run"))
            for name in cases:
                if outcomes[name] == "passed":
                    held[probe.area] += 1
                else:
                    left.append((probe.severity, f"{probe.area}: {probe.asks}: {name} {outcomes[name]}"))
    print()
    for area, count in held.items():
        print(f"{area:16} {count:4} held")
    print(f"{sum(held.values())} held, {len(left)} open")
    for severity, what in sorted(left, key=lambda pair: SEVERITIES.index(pair[0])):
        print(f"  {severity}: {what}")
    return int(any(severity != "low" for severity, _ in left))


if __name__ == "__main__":
    sys.exit(main())
