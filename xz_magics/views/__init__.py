"""How a run is shown: as text, as HTML, as pictures, live."""
