import { fileURLToPath } from 'node:url'
import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
const lib = (path: string): string => here(`../../lib/${path}`)

/** `npm run build:page`. The pages take the kit from its sources, so that what is tried out is what is here. */
export default defineConfig({
  plugins: [react()],
  resolve: {
    alias: {
      'express-sse-kit/client': lib('client/index.ts'),
      'express-sse-kit/react': lib('react/index.ts'),
    },
  },
  build: {
    target: 'es2022',
    rolldownOptions: {
      input: { index: here('index.html'), workbench: here('workbench.html'), compare: here('compare.html') },
    },
    // The pages' content security policy has no room for inlined files.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
})
