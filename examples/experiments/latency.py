"""Latency before and after the pipeline, paired, with what the machine does to a ratio that is 1.

``python -m examples.experiments.latency``; measured by ``python -m examples.experiments.measure --parts latency``.
"""

from __future__ import annotations

from examples.experiments.rows import arguments, read_rows, table, wanted_rows, write_result

MODELS = ("yolov8n", "efficientnet-b0", "bert-base", "whisper-tiny-encoder", "whisper-tiny-decoder")


def main() -> None:
    arguments(__doc__).parse_args()
    rows = [row for row in wanted_rows(read_rows(), "latency", MODELS) if "latency" in row]
    lines = []
    for row in rows:
        found = row["latency"]
        if "error" in found:
            lines.append([row["model"], row["exporter"], *[found["error"]] * 6])
            continue
        (low, high), (quiet, loud) = found["interval"], found["noise"]
        times = [found["exported_ms"], found["optimized_ms"], f"{found['ratio']:.3f}", f"{low:.3f} to {high:.3f}"]
        lines.append([row["model"], row["exporter"], *times, f"{quiet:.3f} to {loud:.3f}", found["pairs"]])
    header = ["model", "exporter", "exported, ms", "optimized, ms", "ratio", "95 % interval", "a graph against itself"]
    text = (
        "# Latency\n\nTime of the exported over time of the optimized graph, in onnxruntime at its default level, one "
        "thread: above 1 the optimized graph is faster. Runs are interleaved, ratios are medians of pairs.\n\n"
    )
    write_result("latency", text + table([*header, "pairs"], lines))


if __name__ == "__main__":
    main()
