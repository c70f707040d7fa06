"""From files of cells, whatever their layout, to an atlas: look, judge, write."""
