#!/usr/bin/env bash
# site.sh OUT: the pages of the project as a site, OUT/html, that needs no server and no
# network. Fails if a link leads nowhere, or a page is not in the menu (docs/mkdocs.yml).
set -euo pipefail

if (($# != 1)); then
    sed -n '2,3s/^# //p' "$0" >&2
    exit 2
fi
mkdir -p -- "$1"
out=$(cd -- "$1" && pwd)
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

# Places are those of the repository, so that its links hold; what is no page is shown as
# it is.
rm -rf -- "${out:?}/pages" "$out/html"
mkdir -- "$out/pages"
cp -r --parents ./*.md docs/ LICENSE llvm-shims/README.md examples/ include/ benches/stage3.mk benches/clang_each.py \
    scripts/dist/hot src/plan.rs \
    "$out/pages"
cp docs/mkdocs.yml "$out/mkdocs.yml"

while read -r page; do
    if ! grep -q ": ${page#./}\$" docs/mkdocs.yml; then
        echo "site: docs/mkdocs.yml does not list $page" >&2
        exit 1
    fi
done < <(cd "$out/pages" && find . -name '*.md')
if ! mkdocs build --strict --config-file "$out/mkdocs.yml" 2>"$out/log"; then
    cat -- "$out/log" >&2
    exit 1
fi
echo "site: $out/html/index.html"
