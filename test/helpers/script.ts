import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Rollup } from 'vite'
import { viteBuild } from './vite-build.js'

const scripts = new Map<string, Promise<string>>()
let folder: string | undefined

/**
 * Bundles a script of the tests, with the parts of the kit that it imports, into one file for Node. A process that
 * compiles them itself takes several times as long to start.
 * @returns the path of the file, which exists until this process ends
 */
export function script(source: URL): Promise<string> {
  let path = scripts.get(source.href)
  if (path === undefined) {
    path = bundled(source)
    scripts.set(source.href, path)
  }
  return path
}

async function bundled(source: URL): Promise<string> {
  const { output } = (await viteBuild({
    configFile: false,
    logLevel: 'silent',
    define: { 'import.meta.url': JSON.stringify(source.href) },
    build: {
      ssr: true,
      write: false,
      minify: false,
      rolldownOptions: {
        input: fileURLToPath(source),
        external: /^[@a-z]/,
        output: { codeSplitting: false },
      },
    },
  })) as Rollup.RollupOutput
  folder ??= temporaryFolder()
  const path = join(folder, `${scripts.size}.mjs`)
  await writeFile(path, output[0].code)
  return path
}

function temporaryFolder(): string {
  const path = mkdtempSync(join(tmpdir(), 'sse-scripts-'))
  symlinkSync(fileURLToPath(new URL('../../node_modules', import.meta.url)), join(path, 'node_modules'))
  process.once('exit', () => rmSync(path, { recursive: true, force: true }))
  return path
}
