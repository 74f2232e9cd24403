import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { expect } from 'chai'
import type { Rollup } from 'vite'
import { viteBuild } from '../helpers/vite-build.js'

/** Bundles the entry with all its imports, including the parser, as the build of a page does. */
async function bundle(entry: string): Promise<Rollup.OutputChunk> {
  const lib = {
    entry: fileURLToPath(new URL(`../../lib/client/${entry}`, import.meta.url)),
    formats: ['iife' as const],
  }
  const [result] = (await viteBuild({
    configFile: false,
    logLevel: 'silent',
    build: { write: false, minify: 'esbuild', target: 'es2022', lib: { ...lib, name: 'kit', fileName: entry } },
  })) as Rollup.RollupOutput[]
  expect(result?.output).to.have.length(1)
  return result?.output[0] as Rollup.OutputChunk
}

describe('the bundle that a page loads', () => {
  for (const [entry, maxBytes] of [
    ['index.ts', 6144],
    ['bus.ts', 8192],
  ] as const) {
    it(`of ${entry} has at most ${maxBytes} bytes gzipped, and no Node imports`, async function () {
      this.timeout(60_000)
      const { code, imports } = await bundle(entry)
      expect(imports).to.deep.equal([])
      expect(code).to.not.match(/node:|require\(/)
      expect(gzipSync(code, { level: 9 }).length).to.be.within(1000, maxBytes)
    })
  }
})
