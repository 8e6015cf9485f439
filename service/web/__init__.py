"""The pages people look at: plain HTML, CSS and modules of JavaScript, which ask the same API as everybody else."""
