"""A Chromium without a window, and what a page does in it."""

import base64
import contextlib
import json
import os

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from harness.run import program

WIDTH, HEIGHT = 1400, 1000


class Browser:
    """A browser, and the page that was opened last."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, path):
        """Opens the page at PATH."""
        self.driver.get(path.as_uri())

    def all(self, selector):
        """The elements for SELECTOR."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        """The first element for SELECTOR, which must be there."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector):
        """What is seen of the elements for SELECTOR."""
        return self.run("return [...document.querySelectorAll(arguments[0])].map(e => e.innerText)",
                        selector)

    def run(self, script, *arguments):
        """What the body SCRIPT of a function returns for ARGUMENTS."""
        return self.driver.execute_script(script, *arguments)

    def wait_for(self, script, *arguments):
        """What the body SCRIPT of a function hands to its last argument."""
        return self.driver.execute_async_script(script, *arguments)

    def settle(self):
        """Waits until what was done is drawn."""
        self.wait_for("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")

    def click(self, selector):
        """Clicks on the first element for SELECTOR, wherever it is."""
        self.run("arguments[0].click()", self.one(selector))
        self.settle()

    def type(self, selector, text):
        """Types TEXT in place of what is in the first element for SELECTOR."""
        field = self.one(selector)
        field.clear()
        # An empty field has to be told so.
        self.run("arguments[0].dispatchEvent(new Event('input'))", field)
        field.send_keys(text)
        self.settle()

    def point(self, selector, x, y, click=False):
        """Moves the mouse to X, Y in the first element for SELECTOR, from its upper left."""
        element = self.one(selector)
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        size = element.size
        actions = ActionChains(self.driver)
        actions.move_to_element_with_offset(element, round(x - size["width"] / 2),
                                            round(y - size["height"] / 2))
        (actions.click() if click else actions).perform()
        self.settle()

    def use_dark(self, dark):
        """Has the user like it DARK or light from now on."""
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})
        self.settle()

    def picture(self, path, selector=None):
        """Leaves a picture of the whole page, or of the first element for SELECTOR, in PATH."""
        if selector:
            self.one(selector).screenshot(str(path))
            return
        size = self.run("return [innerWidth, document.documentElement.scrollHeight]")
        taken = self.driver.execute_cdp_cmd("Page.captureScreenshot", {
            "captureBeyondViewport": True,
            "clip": {"x": 0, "y": 0, "width": size[0], "height": min(size[1], 12000), "scale": 1}})
        path.write_bytes(base64.b64decode(taken["data"]))

    def paper(self, path):
        """Prints the page to the PDF PATH."""
        path.write_bytes(base64.b64decode(self.driver.print_page()))

    def complaints(self):
        """What was written to the console since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self):
        """The addresses that were asked for since that was last asked."""
        messages = (json.loads(entry["message"])["message"]
                    for entry in self.driver.get_log("performance"))
        return [message["params"]["request"]["url"] for message in messages
                if message["method"] == "Network.requestWillBeSent"]


@contextlib.contextmanager
def browser():
    """A browser that ends with the context."""
    options = Options()
    options.binary_location = str(program("chromium"))
    words = ["--headless=new", f"--window-size={WIDTH},{HEIGHT}", "--hide-scrollbars",
             # Containers have little of it.
             "--disable-dev-shm-usage",
             "--disable-background-networking", "--disable-component-update"]
    if os.geteuid() == 0:
        words.append("--no-sandbox")
    for word in words:
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(program("chromedriver"))))
    driver.set_script_timeout(120)
    try:
        yield Browser(driver)
    finally:
        driver.quit()
