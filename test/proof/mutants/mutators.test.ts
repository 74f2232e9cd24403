import { expect } from 'chai'
import { apply, mutantsOf } from './mutators.js'
import { probeAt, probesOf, withProbes } from './probes.js'

const changed = (source: string): string[] => mutantsOf('a.ts', source).map((mutant) => apply(source, mutant))

describe('the mutants of a file', () => {
  it('shift and negate a comparison', () => {
    expect(changed('x = a < b')).to.deep.equal([';', 'x = a <= b', 'x = a >= b'])
  })

  it('force a condition, remove its branch, and swap what joins it', () => {
    expect(changed('while (1) if (a && !b) break')).to.deep.equal([
      'while (false) if (a && !b) break',
      'while (2) if (a && !b) break',
      'while (1) if (true) break',
      'while (1) if (false) break',
      'while (1) if (a || !b) break',
      'while (1) if (a && b) break',
      'while (1) if (a && !b) ;',
    ])
  })

  it('leave out types, imports and the texts of errors', () => {
    expect(changed("import a from 'a'\ntype B = 'b'\nexport const c: 1 = new TypeError('d')")).to.deep.equal([])
  })

  it('have ids that differ', () => {
    const ids = mutantsOf('a.ts', 'a = b?.c + 1 + 1').map(({ id }) => id)
    expect(new Set(ids).size).to.equal(ids.length)
    expect(ids).to.include('a.ts:1:5 chain b.c')
  })
})

describe('the probes of a file', () => {
  it('report its statements, bare branches and arrow functions when they run, and the file itself', () => {
    const source = 'const f = (x) => { if (x) return g(() => x)\n else { x++ } }\nconst g = (h) => h()'
    const reached: string[] = []
    const run = new Function('globalThis', 'argument', `${withProbes('a', source)}; return f(argument)`)
    expect(run({ __probe: (probe: string) => reached.push(probe) }, 7)).to.equal(7)
    const probes = probesOf('a', source)
    const texts = reached.map((probe) => probes[Number(probe.slice(2))]).map((it) => source.slice(it?.start, it?.end))
    expect(texts).to.deep.equal([source, source.slice(19, 57), 'return g(() => x)', 'h()', 'x'])
    expect(reached).to.not.include(`a#${probeAt(probes, source.indexOf('x++'))}`)
  })
})
