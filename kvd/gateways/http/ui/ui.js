<!doctype html><title>kvd</title>
