//! Trains the small models of the papers on text.
