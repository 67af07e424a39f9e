#!/bin/sh
test "$(./words 'one two' three)" = '3 words'
