"""The pages in a real browser: by keyboard and mouse, with and without JavaScript, checked by axe."""
