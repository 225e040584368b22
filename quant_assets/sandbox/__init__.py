"""Stand-ins for the vendors on loopback. What belongs here: what the vendors would answer.

One HTTP server speaks Yahoo, FRED, Alpha Vantage, RSS and Slack. Its market is simulated from a
seed or replayed from recorded files, and it can be told to misbehave. Nothing outside this
package, except the settings and the command line, knows that it exists.
"""
