import { expect } from 'chai'
import { Random } from '../proof/random.js'
import { Findings } from './area.js'
import { AREAS } from './areas.js'

/** A small part of `npm run hostile`. Those on Redis take the longest for each case. */
const CASES: Readonly<Record<string, number>> = { 'redis-logs': 150, 'redis-state': 40, http1: 400, http2: 400 }
const SEED = 7

describe('hostile input', function () {
  this.timeout(120_000)

  for (const { name, about, run } of AREAS) {
    it(`breaks no promise: ${about}`, async () => {
      const findings = new Findings()
      const cases = CASES[name] ?? 300
      await run(cases, new Random(SEED), findings)
      expect(findings.violations).to.deep.equal([])
      expect(findings.cases).to.be.at.least(cases)
    })
  }
})
