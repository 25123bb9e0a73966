"""Worklists on the pages: who has to consent again, and the screening log."""

from tests.browser.conftest import press

NURSE, COORDINATOR, STATISTICIAN = "nurse.s01@demo.example", "coordinator@demo.example", "statistics@demo.example"
MANAGER, UNBLINDED = "manager@demo.example", "statistics.unblinded@demo.example"


def test_who_has_to_consent_again_leads_to_the_consent_form(visit, check):
    visitor = visit(COORDINATOR)
    page = visitor.page
    visitor.go("/participants")
    press(page, "text=Consent again")
    assert page.locator("h1").inner_text() == "Consent again"
    check(page)
    rows = page.locator("tbody tr")
    assert rows.count() >= 1
    assert "ICF v1.0" in rows.first.inner_text()
    visitor.go("/reconsent?site=S02")
    assert {row.split("\t")[1] for row in page.locator("tbody tr").all_inner_texts()} <= {"S02"}
    waiting = visit(COORDINATOR)
    waiting.go("/reconsent")
    enter = waiting.page.locator("text=Enter")
    if enter.count():
        press(waiting.page, "td >> text=Enter")
        assert waiting.page.locator("h1").inner_text() == "Consent"


def test_an_entry_of_the_screening_log_leads_to_its_form_without_javascript(visit, check):
    visitor = visit(NURSE, javascript=False)
    page = visitor.page
    visitor.go("/screening")
    before = page.locator("tbody tr").count()
    press(page, "text=Add entry")
    assert page.locator("h1").inner_text() == "Screening log"
    assert "/visits/V00/forms/SCRN" in page.url
    visitor.go("/screening?outcome=open")
    assert page.locator("tbody tr").count() >= 1
    seeing = visit(NURSE)
    seeing.go("/screening")
    assert seeing.page.locator("tbody tr").count() == before + 1
    assert {row.split("-")[0] for row in seeing.page.locator("tbody th").all_inner_texts()} == {"S01"}
    check(seeing.page)


def test_the_lists_fit_a_telephone(visit, check):
    visitor = visit(NURSE, width=320)
    for path in ("/screening", "/reconsent"):
        visitor.go(path)
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 320, path
        check(visitor.page)
    stranger = visit(STATISTICIAN)
    stranger.go("/screening")
    assert stranger.page.locator("h1").inner_text() == "This is not allowed"


def test_a_page_says_what_somebody_who_died_or_was_lost_still_allows(visit, check):
    visitor = visit(COORDINATOR)
    page = visitor.page
    seen = 0
    for state, said in (("died", "died on"), ("lost", "lost to follow-up"), ("withdrawn", "since"), ("follow_up", "takes part fully")):
        visitor.go(f"/participants?state={state}")
        if page.locator("tbody a").count():
            press(page, "tbody a")
            assert said in page.locator("summary", has_text="Participation").inner_text()
            if state != "follow_up":
                assert "Not expected any more" in page.locator("details[open] .allowed").inner_text()
                assert page.locator(".grid >> text=Not expected").count() > 0
                assert page.locator(".cell-overdue:has-text('24 months')").count() == 0
                seen += 1
            check(page)
    assert seen, "somebody has left in every demonstration"


def test_recruitment_and_flow(visit, check):
    visitor = visit(MANAGER)
    page = visitor.page
    visitor.go("")
    press(page, "text=Recruitment by site and month")
    assert page.locator("h1").inner_text() == "Recruitment"
    check(page)
    press(page, "text=Participant flow")
    assert page.locator("svg.chart").count() == 1
    assert page.locator("text=Show it by arm").count() == 0
    assert page.locator("summary", has_text="all agree").count() == 1
    assert "Targeted muscle" not in page.locator("main").inner_text()
    check(page)
    shown = page.locator("tr", has_text="Assessed for eligibility").locator("td").inner_text()
    press(page, "tr:has-text('Assessed for eligibility') a")
    assert page.locator("main [role=status]").inner_text() == f"{shown} entries."
    visitor.go("/flow")
    with page.expect_download() as download:
        page.click("text=Download the counts")
    assert download.value.suggested_filename == "pre-tmr-RP-02.csv"


def test_the_flow_by_arm_is_shown_on_demand_to_the_unblinded_statistician(visit, check):
    visitor = visit(UNBLINDED, javascript=False)
    page = visitor.page
    visitor.go("/flow")
    assert "Targeted muscle" not in page.locator("main").inner_text()
    press(page, "text=Show it by arm")
    assert page.locator("h1").inner_text() == "Participant flow by arm"
    assert "Targeted muscle reinnervation" in page.locator("main thead").all_inner_texts()[1]
    nurse = visit(NURSE, width=320)
    nurse.go("/flow")
    assert nurse.page.locator("h1").inner_text() == "This is not allowed"
    manager = visit(MANAGER, width=320)
    for path in ("/flow", "/recruitment"):
        manager.go(path)
        assert manager.page.evaluate("document.documentElement.scrollWidth") <= 320, path
        check(manager.page)


def test_figures_of_completeness_lead_to_what_they_count(visit, check):
    visitor = visit("data@demo.example", width=320)
    page = visitor.page
    visitor.go("/monitoring")
    check(page)
    due = "#forms + div tbody tr:first-child td:nth-child(3) a"
    count = page.locator(due).evaluate("link => link.firstChild.textContent.trim()")
    press(page, due)
    assert page.locator("h1 .count").inner_text() == count
    check(page)
    for figure in ("entry", "visits-done", "deviations", "primary-lacking"):
        visitor.go("/monitoring")
        link = page.locator(f"tbody tr:first-child a[href$='/monitoring/figures/{figure}']").first
        count = link.evaluate("link => link.firstChild.textContent.trim()") if link.count() else "0"
        visitor.go(f"/monitoring/figures/{figure}")
        if figure != "entry":
            assert page.locator("h1 .count").inner_text() == count
        check(page)


def test_derived_items_of_everybody_and_of_one(visit, check):
    manager = visit(MANAGER)
    page = manager.page
    manager.go("/participants")
    press(page, "text=Derived items")
    assert page.locator("h1").inner_text() == "Derived items"
    assert page.locator("text=Show restricted items").count() == 0
    assert "Per protocol" not in page.locator("main").inner_text()
    check(page)
    with page.expect_download() as download:
        page.click("text=Download participants")
    assert download.value.suggested_filename == "pre-tmr-derived.csv"
    press(page, "#participants + div tbody tr:first-child a")
    assert page.locator("h1").inner_text().startswith("Derived items of ")
    check(page)


def test_restricted_derived_items_are_shown_on_demand(visit, check):
    visitor = visit(UNBLINDED, width=320, javascript=False)
    page = visitor.page
    visitor.go("/derived")
    assert "Per protocol" not in page.locator("main").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    press(page, "text=Show restricted items")
    assert "Per protocol" in page.locator("main").inner_text()
    surgeon = visit("surgeon.s01@demo.example", width=320)
    surgeon.go(f"/participants/{surgeon.participant('follow_up')}/derived")
    press(surgeon.page, "text=Show restricted items")
    assert "Per protocol" in surgeon.page.locator("main").inner_text()
    assert surgeon.page.evaluate("document.documentElement.scrollWidth") <= 320
    check(surgeon.page)


def test_two_people_type_a_form_and_a_third_settles_what_differs(visit, check):
    nurse, office, third = visit(NURSE), visit("data@demo.example", javascript=False), visit("si.s01@demo.example", width=320)
    person = nurse.participant("follow_up")
    rows = f"/participants/{person}/visits/V09/forms/PRPB"

    def fill(page, frame: int, last: int) -> None:
        page.check(f"[name='answer.prpb_frame'][value='{frame}']")
        for number in range(1, 8):
            page.fill(f"#q-prpb_{number}", str(last if number == 7 else 2))

    nurse.go(rows)
    press(nurse.page, "text=Add a row")
    check(nurse.page)
    fill(nurse.page, 1, 2)
    press(nurse.page, "text=Save and add another row")
    assert "Row 1 is entered" in nurse.page.locator(".saved").inner_text()
    fill(nurse.page, 2, 2)
    press(nurse.page, "text=Save as complete")
    assert "Your entry is kept" in nurse.page.locator(".saved").inner_text()
    assert nurse.page.locator("form.sheet").count() == 0
    check(nurse.page)
    nurse.go(rows)
    assert nurse.page.locator("section:has(#begun) li").count() == 2
    check(nurse.page)

    office.page.goto(f"{office.site.address}/notices")
    press(office.page, "tr:has-text('Enter forms a second time'):has-text('S01') a")
    mine = f"section:has(#second) tr:has-text('{person}'):has-text('V09') th a"
    press(office.page, f"{mine} >> nth=0")
    fill(office.page, 1, 2)
    press(office.page, "text=Save and add another row")
    assert office.page.url.partition("?")[0].endswith("/PRPB/2")
    fill(office.page, 2, 3)
    press(office.page, "text=Save as complete")
    assert "differ in 1 answer" in office.page.locator("main").inner_text()
    assert office.page.locator("form.sheet, #two").count() == 0

    third.go("/double-entry?site=S01")
    check(third.page)
    assert third.page.evaluate("document.documentElement.scrollWidth") <= 320
    press(third.page, f"section:has(#settle) tr:has-text('{person}'):has-text('V09') th a")
    assert third.page.locator("tr.differs").inner_text().split("\t")[1:3] == ["2", "3"]
    check(third.page)
    third.page.fill("#q-prpb_6", "9")
    press(third.page, "text=Save as complete")
    assert third.page.locator("tr.differs").count() == 1, "both entries stand beside what is wrong"
    third.page.fill("#q-prpb_6", "2")
    third.page.fill("#q-prpb_7", "3")
    press(third.page, "text=Save as complete")
    assert "Saved as complete" in third.page.locator(".saved").inner_text()
    third.go(f"{rows}/1")
    assert third.page.locator(".form-status .state").inner_text() == "Complete"
