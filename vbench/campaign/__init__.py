"""The story of a campaign: plan sessions, submit them as jobs, watch the jobs, file their records, sum up.

It does not know how a session measures: a job gets the path of a session file, and is judged by its records.

    launcher    Hydra's entry point; `story.carry_out` is the campaign from start to end
    admission   how many sessions may be submitted in addition to the jobs in flight
    submitting  submits sessions; one command at a time decides which
    watching    follows the jobs in flight and collects those that have ended
    task        one session on its way: to submit, in flight, done
    results     what has been recorded of a session
    jobs/       the backends that execute sessions

Nothing is imported here: a batch job imports this package and needs only `jobs`.
"""
