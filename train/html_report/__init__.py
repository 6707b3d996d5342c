"""`tierenv report`: results, run folders, calibrations and replays as one HTML file that needs nothing beside itself.

document     what a report is made of, whatever it is about
texts        words of others made harmless, and numbers for people
charts       pictures that stand still (Vega-Lite, drawn here)
timelines    pictures over time that a reader may zoom and filter, drawn here and again by the reader's browser
budget       how long to search: what several inputs found against what it cost
page         the file: template, style, script, and what the browser is allowed
kinds        the table of kinds of input, and telling which one an input is; a module for each kind beside it
"""
