"""Self-contained HTML reports. What belongs here: pages and their pictures, made from evaluations.

Does not belong here: computing a figure (``domain``), loading and storing, Dagster. A page is one
string: no script, no font, no picture from elsewhere, so that it can be mailed, archived and
opened anywhere.
"""
