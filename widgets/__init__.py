"""One view or panel per thing a person works with (Qt); they show objects of the engine and hold no data.

`slide/` draws gigapixel slides and is painted on; the panels (`annotations`, `workspace`, `training`, `runs`,
`results`) serve every method. Called by `gui`; each module opens alone with `python -m opsin.widgets.<name>`.
"""
