"""`dlrun resume RUN`: the same run, the same folder, the exact step."""

from dataclasses import replace

from dlrun.commands.parsers import parse


def run(arguments: list[str]) -> int:
    """Resumes one run; does nothing if it is complete."""
    options = parse("resume", arguments)

    from dlrun.runs.select import find_run

    found = find_run(options.run, options.outputs)
    folder, plain = found.folder, found.folder.read_config()
    if found.is_complete:
        print(f"{folder}: complete already, {found.status.step} steps; nothing to do")
        return 0

    from dlrun.commands.start import resume
    from dlrun.config.schema import check
    from dlrun.training.launch import missing_processes, relaunch

    config = check(plain)
    if options.devices is not None:
        config = replace(config, hardware=replace(config.hardware, devices=options.devices))
    count = missing_processes(config)
    if count > 1:
        return relaunch(["resume", *arguments], count)
    resume(config, folder)
    return 0
