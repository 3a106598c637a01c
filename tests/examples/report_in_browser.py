"""Open a report in Chromium and print as JSON what is wrong with it: in a process of its own, beside other browsers."""

import json
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

SIZES = {"desktop": 1100, "phone": 390}
CUT = """() => [...document.querySelectorAll('main *')]
    .filter(one => !one.closest('.scroll, svg') && one.getBoundingClientRect().right > innerWidth + 1)
    .map(one => one.tagName)"""


def main(browser, axe, address, schemes):
    found = {}
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for size, width in SIZES.items():
            for scheme in schemes.split(","):
                # the policy of the page forbids axe-core too, unless the browser is told to pass over it
                context = chromium.new_context(
                    viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
                )
                found[f"{size} {scheme}"] = look_at(
                    context.new_page(), address, axe=Path(axe).read_text(encoding="utf-8")
                )
                context.close()
        page = chromium.new_page()
        found["policy"] = look_at_policy(page, address)
        chromium.close()
    sys.stdout.write(json.dumps(found))


def look_at(page, address, *, axe):
    asked, told = [], []
    page.on("request", lambda request: asked.append(request.url.partition(":")[0]))
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.goto(address)
    for closed in page.locator("summary").all():
        closed.click()
    page.evaluate(axe + "\n;0")
    violations = page.evaluate("axe.run(document, {resultTypes: ['violations'], preload: false})")["violations"]
    return {
        "asked": sorted(set(asked)),
        "told": told,
        "width": page.evaluate("document.documentElement.scrollWidth"),
        "cut": page.evaluate(CUT),
        "violations": [f"{one['id']}: {[node['target'] for node in one['nodes']]}" for one in violations],
        "back": page.evaluate("getComputedStyle(document.body).backgroundColor"),
        "ink": page.evaluate("getComputedStyle(document.querySelector('svg [style*=\"--ink\"]')).fill"),
    }


def look_at_policy(page, address):
    """Whether a script that got into the page, and a picture from elsewhere, would be refused."""
    page.goto(address)
    return page.evaluate(
        """async () => {
            const refused = [];
            document.addEventListener("securitypolicyviolation", event => refused.push(event.effectiveDirective));
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            const image = document.createElement("img");
            image.src = "http://127.0.0.1:9/x.png";
            document.body.append(script, image);
            await new Promise(resolve => setTimeout(resolve, 200));
            return { ran: window.ran === true, refused: refused.sort() };
        }"""
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
