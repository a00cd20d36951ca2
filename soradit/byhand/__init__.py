"""The paper exercise (Tom Yeh, AI by Hand, no. 18: diffusion transformer), worked on the product's own functions.

exercise.py    the numbers, and the 14 steps computed
steps.py       the same as 14 steps to be shown: titles, sentences, matrices
drawing.py     a step on the terminal
worksheet.py   all steps on paper, with blanks and with answers
quiz.py        a step as a question
document.py    docs/byhand.md; ``python -m soradit.byhand`` writes it anew
"""
