"""The paper exercise (Tom Yeh, AI by Hand, no. 18: diffusion transformer), worked on the product's own functions.

exercise.py    the numbers, and the 14 steps computed
values.py      each computed tensor as a named matrix to be drawn
steps.py       what a step and a matrix are
lesson.py      the 14 steps told: titles, sentences, equations, references to the production code
drawing.py     a step in boxes;  terminal.py: on standard output
worksheet.py   all steps on paper, with blanks and with answers
quiz.py        a step as a question
document.py    docs/byhand.md; ``python -m soradit.byhand > docs/byhand.md`` writes it anew
"""
