"""Commands that answer before a GPU is held: what a campaign will take, and which system a load needs.

It does not start a session, and does not know how estimates are made (`vbench.plan.forecast`).

    entry      Hydra's entry point for hydra/launcher=plan, and the command `vbench plan`
    story      from configs to a plan on disk and on the screen
    evidence   the records that estimates rest on
    budget     launcher.budget_gpu_hours, for campaigns that do start
    page       plan.md;  document: plan.json;  figures: its figures
"""
