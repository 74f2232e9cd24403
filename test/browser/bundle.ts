import { fileURLToPath } from 'node:url'
import type { Rollup } from 'vite'
import { viteBuild } from '../helpers/vite-build.js'

/** A script for a test page, bundled with its imports. @param name its file in this folder, without `.ts` */
export async function bundle(name: string): Promise<string> {
  const [result] = (await viteBuild({
    configFile: false,
    logLevel: 'silent',
    define: { 'process.env.NODE_ENV': '"development"' },
    build: {
      write: false,
      minify: false,
      lib: {
        entry: fileURLToPath(new URL(`${name}.ts`, import.meta.url)),
        formats: ['iife'],
        name: 'page',
        fileName: name,
      },
    },
  })) as Rollup.RollupOutput[]
  return result?.output[0].code ?? ''
}

/** A page that contains only that script. */
export function pageWith(script: string): string {
  const head = '<!doctype html><title>page</title><link rel="icon" href="data:,">'
  return `${head}<div id="root"></div><script src="${script}"></script>`
}
