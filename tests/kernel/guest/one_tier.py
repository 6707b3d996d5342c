"""A kernel that has all memory in one tier: whatever would set something refuses."""

from steps import knobs, report, run, tiers

report("start", tiers=tiers(), knobs=knobs())
for arguments in ("--check", "--apply"):
    report("script", call=arguments, **run("dash", "/exports/setting.sh", arguments), knobs=knobs())
for verb in (["check"], ["run", "--apply"]):
    report("controller", call=verb, **run("python3", "-I", "/exports/quick.pyz", *verb), knobs=knobs())
